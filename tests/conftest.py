import os
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.evaluation.tiny import save_tiny_model

settings.register_profile("xfm", deadline=None)  # a machine that others use, too, is slow now and then
settings.load_profile("xfm")
# As in an environment that is activated: commands that are printed begin with `xfm`.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def pytest_addoption(parser: pytest.Parser) -> None:
    default = Path(__file__).parent / "golden" / "a"
    parser.addoption("--golden", default=str(default), help="folder of recorded behaviour to check against")
    everything = "run all situations of the hostile suite, and write their results to this file"
    parser.addoption("--hostile-all", nargs="?", const="hostile.json", help=everything)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, then those with many: no worker begins a long one at the end."""
    count = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))
    items.sort(key=lambda item: (item.path not in slow, -count[item.path]))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
