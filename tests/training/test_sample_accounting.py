"""What was read is what became of it: trained on, bad, passed over, or of a step that was skipped."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.corpus import tiny_recipe
from tests.training.faults import unaccounted
from tests.training.support import logged
from xfm.config.recipe import Recipe
from xfm.training.checkpoint import checkpoint_path, read_state
from xfm.training.pretrain import pretrain

STEPS = 12


def recipe_of(corpus: Path, **training: object) -> Recipe:
    recipe = tiny_recipe(corpus, STEPS, **training)
    return replace(recipe, data=replace(recipe.data, caption_rows=False))


def counted(folder: Path, step: int = STEPS) -> dict[str, dict[str, int]]:
    """The counts after a step, which log and checkpoint agree on."""
    (line,) = [line for line in logged(folder) if line["step"] == step and "event" not in line]
    found = read_state(checkpoint_path(folder, step)).samples
    assert found == line["samples"]
    return {name: dict(counts) for name, counts in found.items()}


@pytest.fixture(scope="module")
def whole(spoiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    pretrain(recipe_of(spoiled, save_every=4, keep=9), folder, progress=False)
    return folder


def test_they_close(whole):
    for step in (4, 8, STEPS):
        assert set(unaccounted(counted(whole, step)).values()) == {0}
    found = counted(whole)
    trained = {name: counts["trained"] for name, counts in found.items()}
    late = STEPS - STEPS // 3  # pictures come in the second phase
    assert trained == {"text": 4 * STEPS, "image": 2 * late, "pair": 4 * late, "region": 4 * late}
    assert found["text"]["read"] == 4 * STEPS
    assert all(found[name]["skipped"] > 0 for name in ("image", "pair", "region"))
    assert found["region"]["passed_over"] > 0
    assert not any(found[name]["passed_over"] for name in ("text", "image", "pair"))
    assert not any(counts["untrained"] for counts in found.values())


def test_a_run_that_goes_on_counts_as_one_that_was_not_stopped(spoiled, whole, tmp_path):
    """Steps that are done again count once."""
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(checkpoint_path(folder, STEPS))
    shutil.rmtree(folder / "model")
    pretrain(recipe_of(spoiled, save_every=4, keep=9), folder, resume=True, progress=False)
    assert counted(folder) == counted(whole)


def test_steps_that_are_skipped(spoiled, tmp_path, monkeypatch):
    """Gradients that are no numbers: their samples are counted, as untrained."""
    real, calls = torch.nn.utils.clip_grad_norm_, list[int]()

    def broken(*words: object, **more: object) -> torch.Tensor:
        calls.append(1)
        norm = real(*words, **more)  # type: ignore[arg-type]
        return norm * float("nan") if len(calls) in (6, 9) else norm

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", broken)
    pretrain(recipe_of(spoiled, save_every=4), tmp_path / "run", progress=False)
    found = counted(tmp_path / "run")
    assert set(unaccounted(found).values()) == {0}
    untrained = {name: counts["untrained"] for name, counts in found.items()}
    assert untrained == {"text": 8, "image": 4, "pair": 8, "region": 8}  # two steps
