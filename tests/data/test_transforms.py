"""Crops, flips, boxes and variation against torchvision's transforms v2; what each mode promises."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.ops import box_convert
from torchvision.transforms import InterpolationMode, v2

from tests.data.conftest import generator, noise
from xfm.config.data import Augmentation
from xfm.config.image import STRONG, ImageTrainingConfig, MirrorRule, Operations
from xfm.data.transforms import (
    CLIP_MEAN,
    CLIP_STD,
    Boxes,
    BoxFormat,
    BoxUnit,
    View,
    image_view,
    move_boxes,
    names_a_side,
    normalise,
    region_view,
    show,
)
from xfm.data.variation import Mixup, Variation
from xfm.models.artifacts import framed, model_pixels
from xfm.models.folder import Preprocessing


def contains(view: View, box) -> bool:
    x, y, w, h = box
    across = view.left <= x <= x + w <= view.left + view.width
    return across and view.top <= y <= y + h <= view.top + view.height


@st.composite
def boxes_in_pictures(draw):
    width, height = draw(st.integers(8, 300)), draw(st.integers(8, 300))
    boxes = []
    for _ in range(draw(st.integers(1, 5))):
        w, h = draw(st.integers(1, width)), draw(st.integers(1, height))
        boxes.append((float(draw(st.integers(0, width - w))), float(draw(st.integers(0, height - h))), w, h))
    return (width, height), boxes


@st.composite
def views(draw):
    (width, height), boxes = draw(boxes_in_pictures())
    w, h = draw(st.integers(1, width)), draw(st.integers(1, height))
    left, top = draw(st.integers(0, width - w)), draw(st.integers(0, height - h))
    return (width, height), boxes, View(left, top, w, h, draw(st.booleans()))


@settings(max_examples=30)
@given(views(), st.integers(8, 120))
def test_boxes_and_pixels_equal_torchvision(case, size):
    (width, height), boxes, view = case
    pixels = tv_tensors.Image(noise(0, width, height))
    theirs = tv_tensors.BoundingBoxes(
        torch.tensor(boxes, dtype=torch.float64), format="XYWH", canvas_size=(height, width)
    )

    def apply(x):
        x = v2.functional.crop(x, view.top, view.left, view.height, view.width)
        x = v2.functional.horizontal_flip(x) if view.flip else x
        return v2.functional.resize(x, [size, size], interpolation=InterpolationMode.BICUBIC, antialias=True)

    assert torch.equal(show(pixels.as_subclass(torch.Tensor), view, size), apply(pixels))
    moved = move_boxes(boxes, view, size)
    expected = v2.functional.clamp_bounding_boxes(apply(theirs))
    scale = size * size / (view.width * view.height)
    for (_, _, w, h), ours, other in zip(boxes, moved, expected.tolist(), strict=True):
        kept = other[2] * other[3] / (w * h * scale)
        if abs(kept - 0.5) > 1e-5:
            assert (ours is not None) == (kept > 0.5)
        if ours is not None:
            assert ours == pytest.approx(other, abs=1e-6 * size)


@settings(max_examples=80)
@given(boxes_in_pictures(), st.integers(0, 999), st.sampled_from(Augmentation), st.booleans())
def test_views_lie_within_keep_a_box_and_flip_only_when_they_may(case, seed, mode, may_flip):
    """A picture whose text names a side may not be flipped."""
    size, boxes = case
    assert may_flip or not image_view(generator(seed), size, mode, may_flip).flip
    view = region_view(generator(seed), size, boxes, mode, may_flip)
    assert may_flip or not view.flip
    assert min(view.width, view.height) > 0
    assert contains(View(0, 0, *size), view[:4])
    inside = [contains(view, box) for box in boxes]
    if mode is Augmentation.PUBLISHED:
        assert any(inside)
    else:
        assert all(inside)
        assert not view.flip
    if mode is Augmentation.NONE:
        assert view == View(0, 0, *size)


@settings(max_examples=80)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 999))
def test_mild_views_are_large_and_keep_the_aspect(width, height, seed):
    view = image_view(generator(seed), (width, height), Augmentation.MILD, may_flip=True)
    assert not view.flip
    assert contains(View(0, 0, width, height), view[:4])
    assert view.width * view.height >= 0.8 * width * height
    if min(width, height) > 20:
        distortion = (view.width / view.height) / (width / height)
        assert 0.75 < distortion < 1 / 0.75


def test_published_views_have_the_distribution_of_random_resized_crop():
    """Areas, aspects and places agree with torchvision's draws (means and spreads of two samples)."""
    pixels, count = torch.zeros(3, 120, 160), 3000
    crop = v2.RandomResizedCrop(9, scale=(0.2, 1.0))
    drawn = [crop.make_params([pixels]) for _ in range(count)]
    theirs = np.array([[p["left"], p["top"], p["width"], p["height"]] for p in drawn], dtype=float)
    rng = generator(1)
    views = [image_view(rng, (160, 120), Augmentation.PUBLISHED, may_flip=True) for _ in range(count)]
    ours = np.array([view[:4] for view in views], dtype=float)

    def facts(boxes):
        left, top, width, height = boxes.T
        return np.stack([width * height, np.log(width / height), left, top])

    mine, other = facts(ours), facts(theirs)
    spread = np.sqrt((mine.var(1) + other.var(1)) / count)
    assert (np.abs(mine.mean(1) - other.mean(1)) < 4 * spread).all()
    assert mine.std(1) == pytest.approx(other.std(1), rel=0.06)
    assert np.mean([view.flip for view in views]) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("normalisation", [None, ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
def test_normalise_equals_torchvision(normalisation):
    pixels = torch.stack([noise(0, 30, 20), noise(1, 30, 20)])
    mean, std = normalisation or (CLIP_MEAN, CLIP_STD)
    expected = v2.functional.normalize(pixels.float() / 255, list(mean), list(std))
    out = normalise(pixels, normalisation) if normalisation else normalise(pixels)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-6)
    assert pixels.dtype == torch.uint8


@given(
    st.lists(st.sampled_from(["left", "Right", "LEFTMOST", "the", "righthand", "leftover", "dog", "upright"]))
)
def test_sides_are_found(words: list[str]) -> None:
    sides = {"left", "Right", "LEFTMOST", "righthand"}
    assert names_a_side([" ".join(words)]) == bool(sides & {*words})
    letters = bool((sides | {"leftover", "upright"}) & {*words})
    assert names_a_side(words, MirrorRule.LETTERS) == letters
    assert not names_a_side(words, MirrorRule.IGNORE)


# ------------------------------------------------------------------ boxes
corners = st.lists(st.tuples(*[st.floats(0, 1000)] * 4), max_size=5)


@given(corners, st.sampled_from(BoxFormat), st.sampled_from(BoxFormat))
def test_formats_equal_torchvision(rows, first, second):
    xyxy = torch.tensor([[a, b, a + c, b + d] for a, b, c, d in rows], dtype=torch.float64).reshape(-1, 4)
    boxes = Boxes(xyxy, BoxFormat.XYXY, BoxUnit.PIXEL).to_format(first)
    assert len(boxes) == len(rows)
    converted = boxes.to_format(second)
    assert converted.format is second
    expected = box_convert(boxes.data, first, second)
    torch.testing.assert_close(converted.data, expected)


@pytest.mark.parametrize("format", list(BoxFormat))
def test_units(format):
    boxes = Boxes(torch.tensor([[10.0, 20.0, 30.0, 40.0]]), format, BoxUnit.PIXEL)
    fractions = boxes.to_unit(BoxUnit.FRACTION, 100, 50)
    torch.testing.assert_close(fractions.data, torch.tensor([[0.1, 0.4, 0.3, 0.8]]))
    assert fractions.unit is BoxUnit.FRACTION
    torch.testing.assert_close(fractions.to_unit(BoxUnit.PIXEL, 100, 50).data, boxes.data)
    assert boxes.to_unit(BoxUnit.PIXEL, 7, 7) is boxes
    assert boxes.to_format(format) is boxes


# ---------------------------------------------------------------- variation and mixing of training pictures
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
