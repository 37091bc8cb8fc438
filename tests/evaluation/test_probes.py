"""What the suite probes: slot 0, and what it is compared with."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from xfm.config.evaluation import EvaluationConfig
from xfm.evaluation.context import Context
from xfm.evaluation.parts.probes import digits, run_category
from xfm.modeling.features import Encoder, image_features
from xfm.modeling.folder import Pretrained
from xfm.tasks.pictures import Pictures


def test_image_features_are_slot_0(pretrained: Pretrained) -> None:
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder = Encoder(pretrained.model, pretrained.tokenizer)
    found = image_features(encoder, pixels.split(2), 5)
    with torch.no_grad():
        expected = pretrained.model.encode_image(pixels)[:, 1:].mean(dim=1)
    np.testing.assert_allclose(found, expected.numpy(), atol=0.03)


def test_from_scratch_is_another_model_of_the_same_shape(pretrained: Pretrained) -> None:
    state, config = torch.get_rng_state(), EvaluationConfig(seed=7)
    pictures = Pictures(pretrained.preprocessing)
    context = Context(pretrained, Path(), config, torch.device("cpu"), pictures)
    twin = context.scratch.model
    assert torch.equal(state, torch.get_rng_state())
    ours, theirs = pretrained.model.state_dict(), twin.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    name = "vision.patch_embed.weight"
    assert not torch.equal(ours[name], theirs[name])
    assert torch.equal(theirs[name], context.scratch.model.state_dict()[name])


def test_pictures_of_one_object_are_drawn_together(
    pretrained: Pretrained, tiny_world: Path, tmp_path: Path
) -> None:
    """Every picture five times says no more about four objects than every picture once."""
    world = Path(shutil.copytree(tiny_world, tmp_path / "world"))
    file = world / "tasks" / "category" / "test.jsonl"
    found = []
    for times in (1, 5):
        file.write_text(file.read_text() * times)
        pictures = Pictures(pretrained.preprocessing)
        context = Context(pretrained, world, EvaluationConfig(), torch.device("cpu"), pictures)
        found.append(run_category(context).scores["category/test/knn_accuracy"])
    once, often = found
    assert (once.n, often.n) == (12, 60)
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))


def test_digits_are_the_published_ones() -> None:
    images, labels = digits()
    assert images.shape == (1797, 8, 8)
    assert (images.min(), images.max()) == (0, 1)
    assert labels[:10].tolist() == list(range(10))
