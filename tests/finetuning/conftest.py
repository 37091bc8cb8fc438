import shutil
from pathlib import Path

import pytest

from tests.evaluation.tiny import save_tiny_model
from xfm.config.finetune import FinetuneConfig
from xfm.config.tasks import (
    CAPTIONING,
    GROUNDING,
    IMAGE_CLASSIFICATION,
    IMAGE_TEXT_CLASSIFICATION,
    REASONING,
    RETRIEVAL,
    TEXT_CLASSIFICATION,
    VQA,
)
from xfm.config.training import Precision

SAMPLES = Path(__file__).parents[2] / "docs" / "tutorials" / "samples"
FILES = {
    TEXT_CLASSIFICATION.name: ("reviews.csv", ""),
    IMAGE_CLASSIFICATION.name: ("shapes.csv", ""),
    IMAGE_TEXT_CLASSIFICATION.name: ("claims.csv", ""),
    RETRIEVAL.name: ("captions.csv", ""),
    VQA.name: ("questions.jsonl", "image=photo,question=q,answer=a"),
    REASONING.name: ("pairs.jsonl", ""),
    GROUNDING.name: ("boxes.csv", ""),
    CAPTIONING.name: ("captions.csv", ""),
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
