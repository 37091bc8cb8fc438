from pathlib import Path

import pytest

from tests.evaluation.tiny import tiny_pretrained, write_world
from xfm.modeling.folder import Pretrained


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def pretrained() -> Pretrained:
    return tiny_pretrained()
