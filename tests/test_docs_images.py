"""The page on image classification: its commands and its Python run as they stand, on a tiny model."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.tiny import COLOURS, save_tiny_model
from tests.test_docs import ROOT, blocks, commands
from xfm.cli import main
from xfm.reports.scores import read_scores

PAGE = ROOT / "docs" / "image-classification.md"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the page assumes: a model, and pictures in folders of their classes."""
    monkeypatch.chdir(tmp_path)
    save_tiny_model(Path("runs/quickstart/model"))
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for name, colour in COLOURS.items():
            folder = Path("pets") / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(-20, 21, (32, 32, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


def test_the_python_of_the_page_runs(place, capsys):
    names = {}
    for code in blocks(PAGE, "python"):
        exec(compile(code, str(PAGE), "exec"), names)
    assert "C = " in capsys.readouterr().out
    scores = read_scores(Path("runs/pets/metrics.json"))
    assert scores["image-classification/test/linear_accuracy"].value > 0.9
    assert names["done"].model.exists()


def test_the_commands_of_the_page_run(place):
    found = commands(PAGE, "xfm")
    assert [words[0] for words in found] == ["probe", "probe", "zero-shot", "finetune"]
    for words in found:
        short = ["--steps", "2", "--batch-size", "4"] if words[0] == "finetune" else []
        assert main([*words, *short]) == 0
