from pathlib import Path

import pytest

from tests.processes import can_unshare
from tests.training.corpus import write_corpus
from tests.training.faults import blemished


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that change nothing in it."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with bad pictures, and pictures without regions."""
    return blemished(write_corpus(tmp_path_factory.mktemp("spoiled") / "corpus"))


@pytest.fixture(scope="module")
def may_mount() -> None:
    """Skips where a test cannot have a /dev/shm or a disk of its own."""
    if not can_unshare():
        pytest.skip("mounting needs root")
