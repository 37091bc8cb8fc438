import numpy as np
import pytest
from PIL import Image

from tests.evaluation.tiny import COLOURS, save_tiny_model
from xfm.cli import main


@pytest.fixture
def folder(tmp_path):
    """A model, and pictures of four colours in folders of their classes."""
    save_tiny_model(tmp_path / "model")
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 5)):
        for name, colour in COLOURS.items():
            place = tmp_path / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(colour) + rng.integers(-30, 31, (32, 32, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    return tmp_path


def run(folder, *options):
    """The command on both folders, unless the options name others."""
    paths = {"--train": folder / "train", "--test": folder / "test", "--out": folder / "out"}
    given = [str(word) for option in paths.items() for word in option]
    return main(["probe", str(folder / "model"), *given, "--features.precision", "fp32", *options])
