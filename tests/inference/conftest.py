from pathlib import Path

import pytest

from tests.inference.models import TASKS, save, tuned
from xfm.config.task import TaskKind
from xfm.modeling.folder import Pretrained


@pytest.fixture(scope="session")
def models() -> dict[TaskKind | None, Pretrained]:
    """One of each kind, in memory."""
    return {kind: tuned(kind) for kind in (None, *TASKS)}


@pytest.fixture(scope="session")
def folders(
    models: dict[TaskKind | None, Pretrained], tmp_path_factory: pytest.TempPathFactory
) -> dict[TaskKind | None, Path]:
    """One of each kind, as a folder."""
    place = tmp_path_factory.mktemp("models")
    return {kind: save(place / str(kind or "pretrained"), found) for kind, found in models.items()}
