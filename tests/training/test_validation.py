"""Looks at data that is not trained on: fixed batches, a run as without them, the average of the weights."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.alike import some, thorough
from tests.processes import TORCHRUN, run
from tests.refusals import expect_refusal
from tests.training.corpus import tiny_recipe, write_corpus
from tests.training.support import called, logged, logged_losses
from xfm.config.data import Augmentation, CorpusConfig, StreamConfig, ValidationConfig
from xfm.config.load import dump_recipe
from xfm.config.phases import PhaseConfig, PhaseWeights
from xfm.config.recipe import Recipe
from xfm.config.training import LossConfig, NegativesConfig
from xfm.models.artifacts import model_card
from xfm.models.folder import Preprocessing, load_model
from xfm.training.checkpoint import AVERAGE, checkpoint_path
from xfm.training.distributed import Process
from xfm.training.pretrain import pretrain
from xfm.training.pretraining_step import Validation

ALONE = Process(0, 1, torch.device("cpu"))
OFTEN = {"validate_every": 2, "validate_steps": 2, "ema": 0.5, "save_every": 3, "keep": 9}


HELD_OUT = ValidationConfig(
    text=StreamConfig(4, [CorpusConfig("text.jsonl")]),
    pair=StreamConfig(4, [CorpusConfig("held-out/*.tar")], Augmentation.NONE),
)


def validated(root: Path, held_out: ValidationConfig = HELD_OUT, **training: object) -> Recipe:
    """The tiny recipe with pairs and texts that it looks at."""
    recipe = tiny_recipe(root)
    return replace(
        recipe,
        data=replace(recipe.data, validation=held_out),
        training=replace(recipe.training, **(OFTEN | training)),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_corpus(tmp_path_factory.mktemp("corpus"))
    write_corpus(folder / "held-out", pictures=9)
    return folder


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    pretrain(validated(root), folder, progress=False)
    return folder


def looks(folder: Path) -> dict[int, dict]:
    """What was seen, by step."""
    return {line["step"]: line for line in logged(folder) if line.get("event") == "validation"}


def looked(root: Path, model: Path) -> dict[str, float]:
    """What a model folder's weights give."""
    loaded = load_model(model)
    held, model = Validation(validated(root), ALONE, Preprocessing(32)), loaded.model.eval()
    with torch.no_grad():
        return held.look(model, called(model))


def test_looks_are_logged_with_the_weights_and_with_their_average(finished: Path, root: Path) -> None:
    found = looks(finished)
    assert list(found) == [2, 4, 6]
    for line in found.values():
        assert line["losses"].keys() == line["average"].keys()
        assert {"loss", "text/mlm", "pair/itc", "pair/itm", "pair/imlm", "pair/mim"} == line["losses"].keys()
        assert all(math.isfinite(value) for kind in ("losses", "average") for value in line[kind].values())
    assert looked(root, checkpoint_path(finished, 6)) == pytest.approx(found[6]["losses"], rel=1e-6)
    assert looked(root, finished / "model") == pytest.approx(found[6]["average"], rel=1e-6)


def test_the_finished_model_is_the_average_and_checkpoints_have_both(finished: Path) -> None:
    stored = checkpoint_path(finished, 6)
    raw, average = load_file(stored / "model.safetensors"), load_file(stored / AVERAGE)
    model = load_model(finished / "model")
    own = dict(model.model.named_parameters())
    assert own.keys() == average.keys() - {"|steps"}
    for name, parameter in own.items():
        assert torch.equal(parameter, average[name]), name
    assert any(not torch.equal(raw[name], average[name]) for name in own)
    assert "decay 0.5" in model.provenance["weights"]
    assert "decay 0.5" in model_card(model.model.config, model.artifacts)
    assert "weights" not in load_model(stored).provenance


def test_the_run_is_that_without_looks(finished: Path, root: Path, tmp_path: Path) -> None:
    recipe = validated(root, ValidationConfig(), validate_every=0, ema=0.0)
    pretrain(recipe, tmp_path / "run", progress=False)
    assert logged_losses(tmp_path / "run") == logged_losses(finished)
    for step in (3, 6):
        plain, seen = (
            load_file(checkpoint_path(of, step) / "model.safetensors") for of in (tmp_path / "run", finished)
        )
        assert all(torch.equal(plain[name], seen[name]) for name in plain)
    assert not looks(tmp_path / "run")
    assert not (checkpoint_path(tmp_path / "run", 6) / AVERAGE).exists()


def test_losses_that_remember_do_not_notice_looks_either(root: Path, tmp_path: Path) -> None:
    remembering = NegativesConfig(queue_size=8)
    seen = validated(root, negatives=remembering)
    plain = validated(root, ValidationConfig(), validate_every=0, ema=0.0, negatives=remembering)
    for name, recipe in {"seen": seen, "plain": plain}.items():
        pretrain(replace(recipe, curriculum=[]), tmp_path / name, progress=False)
    assert logged_losses(tmp_path / "seen") == logged_losses(tmp_path / "plain")
    without = validated(root, negatives=NegativesConfig())
    pretrain(replace(without, curriculum=[]), tmp_path / "without", progress=False)
    assert logged_losses(tmp_path / "without") != logged_losses(tmp_path / "seen")


def test_looks_are_weighed_as_in_the_last_phase(root: Path) -> None:
    recipe = validated(root, weights=LossConfig(itm=4.0), negatives=NegativesConfig(queue_size=8))
    phases = [PhaseConfig(0.5), PhaseConfig(1.0, weights=replace(PhaseWeights(), itm=2.0))]
    seen = replace(recipe, curriculum=phases).validating(0).phases()
    assert [(one.weights.itm, one.negatives.queue_size) for one in seen] == [(2.0, 0)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_sees_the_same(finished: Path, root: Path, tmp_path: Path, workers: int) -> None:
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(checkpoint_path(tmp_path / "run", 6))
    shutil.rmtree(tmp_path / "run" / "model")
    recipe = validated(root)
    recipe = replace(recipe, data=replace(recipe.data, workers=workers))
    pretrain(recipe, tmp_path / "run", resume=True, progress=False)
    assert looks(tmp_path / "run") == looks(finished)
    ours, theirs = (load_file(of / "model" / "model.safetensors") for of in (tmp_path / "run", finished))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_does_not_go_together_is_one_sentence(root: Path, finished: Path, tmp_path: Path) -> None:
    recipe = validated(root)
    with expect_refusal("training.validate_every", "data.validation", kind=ValueError):
        replace(recipe, training=replace(recipe.training, validate_every=0))
    with expect_refusal("training.validate_every", "data.validation", kind=ValueError):
        replace(recipe, data=replace(recipe.data, validation=ValidationConfig()))
    with expect_refusal("training.ema", kind=ValueError):
        replace(recipe.training, ema=1.0)
    gone = replace(recipe.data.validation, pair=StreamConfig(4, [CorpusConfig("nowhere-*.tar")]))
    with expect_refusal("data.validation", "nowhere-*.tar"):
        pretrain(replace(recipe, data=replace(recipe.data, validation=gone)), tmp_path / "a", progress=False)
    assert not any(tmp_path.iterdir())
    with expect_refusal("training.ema", "0.5", "0.9"):
        pretrain(validated(root, ema=0.9), finished, resume=True, progress=False)


@thorough
@pytest.mark.parametrize("strategy", some(["fsdp", "ddp"], 2))
def test_two_processes_see_what_one_sees(root: Path, tmp_path: Path, strategy: str) -> None:
    """Without dropout, and with rows of their own each."""
    recipe = validated(root)
    quiet = replace(
        recipe.model,
        vision=replace(recipe.model.seeing, drop_path=0.0),
        language=replace(recipe.model.language, dropout=0.0),
        fusion=replace(recipe.model.fusing, dropout=0.0),
    )
    recipe = replace(recipe, model=quiet)
    pretrain(recipe, tmp_path / "one", progress=False)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    words = [
        "-m",
        "xfm",
        "pretrain",
        "--recipe",
        str(tmp_path / "recipe.yaml"),
        "--out",
        str(tmp_path / "two"),
    ]
    ended = run([*TORCHRUN, "2", *words, "--training.strategy", strategy, "--quiet"], 240)
    assert ended.status == 0, ended.err[-3000:]
    one, two = looks(tmp_path / "one"), looks(tmp_path / "two")
    assert one.keys() == two.keys()
    for step, line in one.items():
        for kind in ("losses", "average"):
            assert two[step][kind] == pytest.approx(line[kind], rel=1e-3, abs=1e-4), (step, kind)
    ours, theirs = (load_file(tmp_path / of / "model" / "model.safetensors") for of in ("one", "two"))
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-3, msg=name)
