"""What the suite probes: views of a picture, and what they are compared with."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.alike import thorough
from xfm.config.evaluation import EvaluationConfig
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.evaluation.context import Context
from xfm.evaluation.parts.probes import FOLDS, PictureView, digits, folds_of, patch_views, probe, run_category
from xfm.models.features import Encoder, image_features
from xfm.models.folder import Pretrained
from xfm.tasks.images import Pictures


def test_image_features_are_slot_0(pretrained: Pretrained) -> None:
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder = Encoder(pretrained.model, pretrained.tokenizer)
    found = image_features(encoder, pixels.split(2), 5)
    with torch.no_grad():
        expected = pretrained.model.encode_image(pixels)[:, 1:].mean(dim=1)
    np.testing.assert_allclose(found, expected.numpy(), atol=0.03)


def test_views_of_a_picture_are_pools_of_its_patches(pretrained: Pretrained) -> None:
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder = Encoder(pretrained.model, pretrained.tokenizer, Precision.FP32)
    views = patch_views(encoder, pixels.split(2), 3)
    with torch.no_grad():
        grid = pretrained.model.encode_image(pixels)[:, 1:].unflatten(1, (4, 4))  # [3, 4, 4, D]
    np.testing.assert_allclose(views[PictureView.WHOLE], grid.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(views[PictureView.MAX], grid.amax((1, 2)), atol=1e-5)
    quarters = [
        grid[:, row : row + 2, column : column + 2].mean((1, 2)) for row in (0, 2) for column in (0, 2)
    ]
    found = views[PictureView.QUARTERS].reshape(3, -1, 4)  # [3, D, cell]
    np.testing.assert_allclose(found, torch.stack(quarters, dim=2), atol=1e-5)


def test_training_rows_choose_view_and_penalty() -> None:
    """The test rows' labels are not even given; a view that tells the label wins over noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=300)
    told = rng.normal(size=(400, 5)).astype(np.float32)
    told[:, 2] += np.r_[labels, np.repeat([0, 1], 50)] * 4
    noise = rng.normal(size=(400, 5)).astype(np.float32)
    folds = folds_of(np.arange(300), seed=1)
    found = probe({"noise": noise, "told": told}, labels, folds, [1.0, 1e-6])
    assert (found.view, found.penalty) == ("told", 1.0)
    assert (found.labels == np.repeat([0, 1], 50)).mean() > 0.9


def test_groups_are_held_out_whole() -> None:
    groups = np.repeat(np.arange(50), 3)
    folds = folds_of(groups, seed=0)
    assert np.bincount(folds).tolist() == [150 // FOLDS] * FOLDS
    assert all(len({*folds[groups == group]}) == 1 for group in range(50))
    assert (folds_of(groups, seed=1) != folds).any()


def test_rows_of_one_object_choose_no_probe() -> None:
    with pytest.raises(UserError, match="too few to choose a probe by"):
        probe({"told": np.zeros((3, 2))}, np.array([0, 1]), folds_of(np.array([0, 0]), 0), [1.0])


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


@thorough
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
