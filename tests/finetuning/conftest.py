import shutil
from pathlib import Path

import pytest

from tests.evaluation.tiny import save_tiny_model
from xfm.config.finetune import FinetuneConfig
from xfm.config.training import Precision

SAMPLES = Path(__file__).parents[2] / "docs" / "tutorials" / "samples"
FILES = {
    "text-classification": ("reviews.csv", ""),
    "image-classification": ("shapes.csv", ""),
    "image-text-classification": ("claims.csv", ""),
    "retrieval": ("captions.csv", ""),
    "vqa": ("questions.jsonl", "image=photo,question=q,answer=a"),
    "reasoning": ("pairs.jsonl", ""),
    "grounding": ("boxes.csv", ""),
    "captioning": ("captions.csv", ""),
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
