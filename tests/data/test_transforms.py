"""Crops, flips and boxes against torchvision's transforms v2; what each mode promises."""

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
from xfm.config.image import MirrorRule
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
