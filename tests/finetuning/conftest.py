import shutil
from pathlib import Path

import pytest

from tests.evaluation.tiny import save_tiny_model
from xfm.config.finetune import FinetuneConfig
from xfm.config.task import TaskKind
from xfm.config.training import Precision

SAMPLES = Path(__file__).parents[2] / "docs" / "tutorials" / "samples"
FILES = {
    TaskKind.TEXT: ("reviews.csv", ""),
    TaskKind.IMAGE: ("shapes.csv", ""),
    TaskKind.PAIR: ("claims.csv", ""),
    TaskKind.RETRIEVAL: ("captions.csv", ""),
    TaskKind.VQA: ("questions.jsonl", "image=photo,question=q,answer=a"),
    TaskKind.REASONING: ("pairs.jsonl", ""),
    TaskKind.GROUNDING: ("boxes.csv", ""),
    TaskKind.CAPTIONING: ("captions.csv", ""),
}
"""The tutorials' sample of each task, and what its columns are called."""


SHORT = FinetuneConfig(steps=6, batch_size=4, device="cpu", precision=Precision.FP32)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A copy of the ten-row samples that may be damaged."""
    return Path(shutil.copytree(SAMPLES, tmp_path / "samples"))
