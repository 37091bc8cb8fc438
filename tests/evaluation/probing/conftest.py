import pytest

from tests.evaluation.tiny import save_tiny_model
from tests.official.pictures import noisy_colours
from xfm.cli.main import main


@pytest.fixture
def folder(tmp_path):
    save_tiny_model(tmp_path / "model")
    noisy_colours(tmp_path, train=10, test=5)
    return tmp_path


def run(folder, *options):
    paths = {"--train": folder / "train", "--test": folder / "test", "--out": folder / "out"}
    given = [str(word) for option in paths.items() for word in option]
    return main(["evaluate", str(folder / "model"), *given, "--precision", "fp32", *options])
