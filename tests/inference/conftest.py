from pathlib import Path

import pytest

from tests.inference.models import TASKS, save, tuned
from xfm.modeling.folder import Pretrained


@pytest.fixture(scope="session")
def models() -> dict[str | None, Pretrained]:
    """One of each kind, in memory."""
    return {kind: tuned(kind) for kind in (None, *TASKS)}


@pytest.fixture(scope="session")
def folders(
    models: dict[str | None, Pretrained], tmp_path_factory: pytest.TempPathFactory
) -> dict[str | None, Path]:
    """One of each kind, as a folder."""
    place = tmp_path_factory.mktemp("models")
    return {kind: save(place / str(kind or "pretrained"), found) for kind, found in models.items()}
