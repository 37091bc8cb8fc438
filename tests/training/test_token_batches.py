"""Batches of tokens on any number of processes, and the page of a recipe's next batches."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.alike import thorough
from tests.processes import TORCHRUN, run
from tests.refusals import expect_refusal
from tests.training.corpus import tiny_recipe, write_corpus
from tests.training.faults import unaccounted
from tests.training.support import logged, logged_losses
from xfm.cli.main import main
from xfm.config.data import CorpusConfig, StreamConfig
from xfm.config.load import dump_recipe
from xfm.config.recipe import Recipe
from xfm.config.training import Change, OptimConfig
from xfm.data.loader import PretrainingData
from xfm.data.schema import Batch
from xfm.training.checkpoint import checkpoint_path, read_state
from xfm.training.curriculum import open_phase
from xfm.training.inspection import inspect_data
from xfm.training.pretrain import pretrain

STEPS, TOKENS = 9, 64


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Texts of two weighted corpora alone, some of them bad, and nothing random in the model."""
    folder = write_corpus(tmp_path_factory.mktemp("corpus"))
    rng, words = np.random.default_rng(0), ["cat", "dog", "house", "tree", "car", "fish"]
    for name, most in (("text", 14), ("more", 4)):
        texts = [" ".join(rng.choice(words, size=int(rng.integers(1, most)))) for _ in range(120)]
        lines = [json.dumps({"text": text}) for text in texts]
        lines[::25] = ["{}"] * len(lines[::25])
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    plain = tiny_recipe(folder, STEPS, save_every=3, keep=9, optim=OptimConfig(lr=1e-3, warmup=2))
    model = replace(
        plain.model,
        language=replace(plain.model.language, dropout=0.0),
        vision=replace(plain.model.seeing, drop_path=0.0),
    )
    text = StreamConfig(corpora=[CorpusConfig("text.jsonl", 2), CorpusConfig("more.jsonl")], tokens=TOKENS)
    data = replace(plain.data, text=text, image=StreamConfig(), pair=StreamConfig(), region=StreamConfig())
    return replace(plain, model=model, data=data, curriculum=[])


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    pretrain(recipe, folder, progress=False)
    return folder


def counted(folder: Path, step: int) -> dict[str, int]:
    found = read_state(checkpoint_path(folder, step)).samples
    assert set(unaccounted(found).values()) == {0}
    return dict(found["text"])


def cut(folder: Path, step: int) -> None:
    """Forget what came after a step."""
    for later in range(step + 1, STEPS + 1):
        shutil.rmtree(checkpoint_path(folder, later), ignore_errors=True)
    shutil.rmtree(folder / "model", ignore_errors=True)


def check_same(folder: Path, whole: Path) -> None:
    for step in range(3, STEPS + 1, 3):
        assert counted(folder, step) == counted(whole, step)
    expected = logged_losses(whole)
    for step, line in logged_losses(folder).items():
        assert line[0] == pytest.approx(expected[step][0], rel=1e-4), step


def test_every_text_is_counted(recipe: Recipe, whole: Path) -> None:
    phase = recipe.phases()[0]
    data = PretrainingData(phase.data, 32, 8, 0)
    assert len({data.size(step) for step in range(STEPS)}) > 1
    counts = counted(whole, STEPS)
    assert counts["skipped"] > 0
    assert counts["untrained"] == 0
    assert counts["read"] == counts["trained"] + counts["skipped"]
    assert len([line for line in logged(whole) if "event" not in line]) == STEPS


@thorough
@pytest.mark.slow
def test_one_then_two_then_one_process_train_on_the_same_texts(recipe, whole, tmp_path):
    """Losses are means over the masked words of all processes, however many texts each has."""
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    cut(folder, 3)
    (tmp_path / "tiny.yaml").write_text(dump_recipe(recipe))
    words = ["--recipe", str(tmp_path / "tiny.yaml"), "--folder", str(folder), "--quiet", "--device", "cpu"]
    ended = run(
        [*TORCHRUN, "2", "-m", "xfm", "pretrain", *words, "--resume", "--allow-changed", "processes"], 240
    )
    assert ended.status == 0, ended.err[-3000:]
    check_same(folder, whole)
    cut(folder, 6)
    pretrain(recipe, folder, resume=True, progress=False, allowed=frozenset({Change.PROCESSES}))
    check_same(folder, whole)


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    return tiny_recipe(write_corpus(tmp_path_factory.mktemp("corpus")))


def origins_of(batch: Batch) -> list[str]:
    return [str(origin) for origin in batch.origins]


def test_every_sample_of_the_batches_is_drawn(varied, tmp_path):
    shown = inspect_data(varied, tmp_path / "look.html", step=3, count=2)
    assert (shown.batches, shown.phase, shown.samples) == (range(3, 5), 1, (28, 28))
    page = (tmp_path / "look.html").read_text()
    expected = [origins_of(open_phase(varied, 1).batch(step)) for step in (3, 4)]
    assert re.findall(r"<small>([^<]*)</small>", page) == [one for batch in expected for one in batch]
    assert page.count("<image ") == 2 * (2 + 4 + 4)
    assert "<mark>" in page
    assert "stroke='#1f77d0'" in page  # a second row of a region picture
    assert page.count("fill='#888'") == 2 * 6 * (2 + 4)  # masked patches of pictures and pairs
    assert "http" not in page.replace("http-equiv", "")


def test_phases_and_parts_of_large_batches(varied, tmp_path):
    page = tmp_path / "look.html"
    assert inspect_data(varied, page, step=1).phase == 0  # text alone
    assert "<image " not in page.read_text()
    assert inspect_data(varied, page, step=1, phase=1).phase == 1
    shown = inspect_data(varied, page, step=3, samples=2)
    assert shown.samples == (7, 14)
    clocked = replace(varied, training=replace(varied.training, minutes=1.0))
    assert inspect_data(clocked, page, step=0).phase == 1
    with expect_refusal("there is no phase 3: the recipe has 2"):
        inspect_data(varied, page, phase=2)


def test_the_command(varied, tmp_path, capsys):
    (tmp_path / "own.yaml").write_text(dump_recipe(varied))
    out = tmp_path / "pages" / "look.html"
    assert main(["data", "inspect", str(tmp_path / "own.yaml"), "--step", "3", "--out", str(out)]) == 0
    assert "shows 14 of the 14 samples of 1 step, from 3 on" in capsys.readouterr().out
    assert out.exists()
    assert main(["data", "inspect", str(tmp_path / "own.yaml"), "--step=0", "--steps=0"]) == 2
    assert "--steps is 0" in capsys.readouterr().err
    assert main(["data", "inspect", "--step", "3", str(tmp_path / "own.yaml")]) == 2
    assert "there is no place for" in capsys.readouterr().err
