"""An encoder that has what the protocols ask for, and nothing more, goes through all parts of the house."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.evaluation.tiny import tiny_pretrained
from tests.modeling.build import VOCAB, random_batch, tiny_config
from xfm.config.encoders import ImageInputConfig
from xfm.config.image import ImageTrainingConfig
from xfm.config.model import ModelConfig
from xfm.config.training import LossConfig, Precision
from xfm.inference.engine import Engine
from xfm.models.encoders import LANGUAGE, VISION
from xfm.models.folder import Preprocessing, Pretrained
from xfm.models.gradients import PRETRAINING
from xfm.models.layers import Embeddings
from xfm.models.xfm import XFM
from xfm.objectives.step import pretraining_losses
from xfm.tasks.base import TaskSettings
from xfm.tasks.image_classification import ImageClassificationTask
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import SplitRows


@dataclass(frozen=True)
class ToyVisionConfig(ImageInputConfig):
    width: int = 24
    drop_path: float = 0.0


class ToyVision(nn.Module):
    """Patches as they are; what stands for a picture is its first patch."""

    def __init__(self, config: ToyVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patches = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)
        self.rate = config.drop_path

    def forward(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        patches = self.patches(pixels).flatten(2).transpose(1, 2)  # [B, P, D]
        if patch_mask is not None:
            patches = patches * ~patch_mask[..., None]
        return torch.cat([patches[:, :1], patches], dim=1)

    def resize(self, image_size: int, image_width: int | None = None) -> None:
        self.config = replace(self.config, image_size=image_size, image_width=image_width)

    def compute_buffers(self) -> None:
        pass

    def set_drop_path(self, rate: float) -> None:
        self.rate = rate


@dataclass(frozen=True)
class ToyTextConfig:
    vocab_size: int = VOCAB
    width: int = 32
    max_positions: int = 30
    pad: int = 1
    longest: int = 20
    norm_eps: float = 1e-3
    first_position: int = 0
    segments: int = 1
    separator: int = 1


class ToyText(nn.Module):
    """A bag of words."""

    def __init__(self, config: ToyTextConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab_size, config.width)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.words(ids) * mask[..., None]

    def copy_words(self, embeddings: Embeddings) -> None:
        embeddings.words.load_state_dict(self.words.state_dict())


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    monkeypatch.setitem(VISION, ToyVisionConfig, ToyVision)
    monkeypatch.setitem(LANGUAGE, ToyTextConfig, ToyText)
    vision, language = ToyVisionConfig(32, 8), ToyTextConfig()
    return replace(tiny_config(), vision=vision, language=language)  # type: ignore[arg-type]


@pytest.fixture
def toy(config: ModelConfig) -> Pretrained:
    tokenizer = tiny_pretrained().given_tokenizer
    return Pretrained(tokenizer, Preprocessing(image_size=32), {}, model=XFM(config).eval())


def test_it_is_pretrained(toy: Pretrained) -> None:
    weights, generator = LossConfig(), torch.Generator().manual_seed(0)
    losses = pretraining_losses(toy.model, random_batch(), PRETRAINING, weights, generator)
    losses.total.backward()
    assert toy.model.vision.patches.weight.grad.norm() > 0
    assert toy.model.language.words.weight.grad.norm() > 0
    assert toy.model.language_head.norm.eps == 1e-3


def test_its_words_its_length_and_its_drop_path_are_used(toy: Pretrained) -> None:
    model = toy.model
    assert model.words_fit
    model.init_fusion_embeddings_from_language()
    assert torch.equal(model.fusion.embeddings.words.weight, model.language.words.weight)
    assert Engine(toy, "toy", torch.device("cpu"), Precision.FP32, 2, None).longest == 20
    rows = SplitRows([], labels=["cat", "dog"])
    settings = TaskSettings(image=ImageTrainingConfig(drop_path=0.25))
    task = ImageClassificationTask(toy, TaskImages(toy.preprocessing), rows, settings)
    assert task.module.vision.rate == 0.25


def test_it_takes_pictures_of_another_size(toy: Pretrained) -> None:
    toy.model.resize(48, 64)
    assert toy.model.config.vision.grid == (6, 8)
    assert toy.model.embed_image(torch.randn(2, 3, 48, 64)).shape == (2, 12)


def test_it_is_saved_and_described(toy: Pretrained, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="without a self-check"):  # the tokenizer has more words than it
        toy.model.save_pretrained(tmp_path / "model", toy.artifacts)
    assert "vision: ToyVision, width 24" in (tmp_path / "model" / "README.md").read_text()
