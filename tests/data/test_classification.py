"""Variation and mixing of training pictures against torchvision and their laws."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from tests.data.conftest import noise
from xfm.config.image import STRONG, ImageTrainingConfig, Operations
from xfm.data.variation import Mixup, Variation
from xfm.models.artifacts import framed, model_pixels
from xfm.models.folder import Preprocessing

PREPROCESSING = Preprocessing(32)
MODEL = PREPROCESSING.shape, (PREPROCESSING.mean, PREPROCESSING.std)
STILL = ImageTrainingConfig()


PICTURE = noise(0, 40, 40)


def test_without_variation_it_is_what_evaluation_sees():
    ours = Variation(STILL, *MODEL)(PICTURE, seed=1)
    expected = model_pixels(framed(PICTURE, PREPROCESSING)[None], PREPROCESSING)[0]
    torch.testing.assert_close(ours, expected, atol=0.02, rtol=0)


def test_the_strong_variation_is_torchvisions():
    """The same transforms in the same order from the same seed."""
    steps = v2.Compose(
        [
            v2.RandomResizedCrop(
                32, (0.08, 1.0), (3 / 4, 4 / 3), v2.InterpolationMode.BICUBIC, antialias=True
            ),
            v2.RandomHorizontalFlip(0.5),
            v2.RandAugment(2, 9, 11, v2.InterpolationMode.BILINEAR, fill=128),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(PREPROCESSING.mean, PREPROCESSING.std),
            v2.RandomErasing(0.25, value="random"),
        ]
    )
    for seed in range(20):
        torch.manual_seed(seed)
        expected = steps(PICTURE)
        ours = Variation(STRONG, *MODEL)(PICTURE, seed)
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@settings(max_examples=25)
@given(
    mixup=st.sampled_from([0.0, 0.8]),
    cutmix=st.sampled_from([0.0, 1.0]),
    rows=st.integers(2, 6),
    seed=st.integers(0, 2**16),
)
def test_shares_are_those_of_the_pixels(mixup, cutmix, rows, seed):
    """Pictures of one value each: the mean of a mixed picture tells the shares."""
    torch.manual_seed(seed)
    labels = torch.arange(rows)
    pixels = labels.float()[:, None, None, None].expand(rows, 3, 8, 8).clone()
    mixed, shares = Mixup(ImageTrainingConfig(mixup=mixup, cutmix=cutmix), rows)(pixels, labels)
    torch.testing.assert_close(shares.sum(1), torch.ones(rows))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), shares @ labels.float(), atol=1e-4, rtol=0)
    if not mixup and not cutmix:
        assert torch.equal(mixed, pixels)


def _generators() -> tuple[object, bytes, bytes]:
    numbers: Any = np.random.get_state()  # noqa: NPY002
    return random.getstate(), numbers[1].tobytes(), torch.get_rng_state().numpy().tobytes()


@pytest.mark.parametrize("operations", Operations)
def test_every_kind_of_operations_is_seeded_and_leaves_the_generators(operations: Operations) -> None:
    """timm draws from the generators of Python and NumPy, which are as before afterwards."""
    config = ImageTrainingConfig(rand_augment=2, magnitude=9, operations=operations)
    variation = Variation(config, *MODEL)
    before = _generators()
    found = [variation(PICTURE, seed) for seed in (1, 1, 2, 3, 4, 5)]
    assert _generators() == before
    assert torch.equal(found[0], found[1])
    assert len({one.numpy().tobytes() for one in found}) > 2
