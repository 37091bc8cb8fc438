import json
import shutil
from pathlib import Path

import pytest

from tests.evaluation.tiny import save_tiny_model, tiny_pretrained, write_world
from tests.finetuning.conftest import cli
from xfm.config.evaluation import EvaluationConfig, ProbeConfig
from xfm.evaluation.suite import evaluate
from xfm.models.folder import Pretrained

__all__ = ["cli"]
CONFIG = EvaluationConfig(scale=0.01, probe=ProbeConfig(inverse_penalties=[0.1], pixel_side=8))
HOSTILE = '<script>alert("1 & 2")</script>'


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def pretrained() -> Pretrained:
    return tiny_pretrained()


@pytest.fixture(scope="session")
def results(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole evaluation of a tiny model beside the log of its training, which ends in a torn line."""
    folder = tmp_path_factory.mktemp("run")
    model = save_tiny_model(folder / "model")
    lines = [
        {"step": step, "loss": 9 / step, "losses": {"itc": 1 / step, HOSTILE: 2.0}} for step in range(1, 30)
    ]
    lines.insert(3, {"step": 4, "event": "resumed", "message": HOSTILE})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text + '{"step": 31, "lo')
    evaluate(model, tiny_world, folder, CONFIG, progress=False)
    return folder


@pytest.fixture
def copy(results: Path, tmp_path: Path) -> Path:
    return shutil.copytree(results, tmp_path / "run")
