import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evaluation.tiny import save_tiny_model, tiny_pretrained
from tests.inference.models import save
from xfm.config.task import TaskConfig
from xfm.models.task_models import build_task_model

FILES = ("model.safetensors", "config.json", "tokenizer.json", "preprocessor_config.json", "provenance.json")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a tiny model, and one of a classifier of texts with three classes."""
    place, model = tmp_path_factory.mktemp("models"), tiny_pretrained()
    save_tiny_model(place / "saved")
    task = build_task_model(TaskConfig("text-classification", 3), model.model)
    save(place / "tuned", replace(model, task=task))
    return place


@pytest.fixture
def saved(folders: Path, tmp_path: Path) -> Path:
    """The folder of a tiny model, to do with as one likes."""
    return Path(shutil.copytree(folders / "saved", tmp_path / "model"))


@pytest.fixture
def tuned(folders: Path, tmp_path: Path) -> Path:
    """The folder of a classifier of texts, likewise."""
    return Path(shutil.copytree(folders / "tuned", tmp_path / "tuned"))
