"""Boxes against torchvision and pycocotools, and the best constant box against brute force."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask
from torchvision.ops import box_iou

from xfm.metrics.boxes import (
    best_constant_box,
    best_iou,
    constant_box_scores,
    grid_boxes,
    iou_scores,
    paired_iou,
)

WIDTH, HEIGHT = 640, 427


def boxes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """[N, 4] corner pairs in pixels: random, equal, touching, nested, thin and far apart."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, [WIDTH, HEIGHT], (40, 2, 2))
    true = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    moved = true + rng.normal(0, 30, true.shape)
    predicted = np.concatenate([moved[:, :2], np.maximum(moved[:, 2:], moved[:, :2])], axis=1)
    predicted[0] = true[0]
    predicted[1] = true[1] + [true[1, 2] - true[1, 0], 0, true[1, 2] - true[1, 0], 0]  # side by side
    predicted[2] = [0, 0, WIDTH, HEIGHT]
    predicted[3] = [*true[3, :3], true[3, 1] + 1e-3]
    predicted[4, :2] = predicted[4, 2:]  # no area
    return predicted, true


@settings(max_examples=50)
@given(st.integers(0, 2**16))
def test_overlap_and_accuracy(seed: int) -> None:
    predicted, true = boxes(seed)
    matrix = box_iou(torch.from_numpy(predicted), torch.from_numpy(true)).numpy()
    ours, theirs = paired_iou(predicted, true), matrix.diagonal()
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    np.testing.assert_allclose(paired_iou(predicted[:, None], true[None]), matrix, atol=1e-12)
    widths = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in (predicted, true)]
    coco = mask.iou(*widths, [0] * len(true)).diagonal()
    has_area = widths[0][:, 2:].prod(axis=1) > 0
    np.testing.assert_allclose(ours[has_area], coco[has_area], atol=1e-9)
    sides = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])  # fractions of the sides have the IoU of pixels
    right = float((theirs >= 0.5).mean())
    scores = iou_scores(paired_iou(predicted / sides, true / sides))
    assert scores == pytest.approx({"acc50": right, "mean_iou": theirs.mean()})
    assert iou_scores(paired_iou(predicted, true))["acc50"] == right


def test_best_box_is_at_least_as_good_as_brute_force_over_the_grid() -> None:
    rng = np.random.default_rng(0)
    centre, size = rng.normal(0.5, 0.1, (80, 2)), rng.uniform(0.2, 0.5, (80, 2))
    boxes = np.clip(np.concatenate([centre - size / 2, centre + size / 2], axis=1), 0, 1)
    brute = max(iou_scores(paired_iou(box[None], boxes))["acc50"] for box in grid_boxes())
    assert constant_box_scores(grid_boxes(), boxes).max() == pytest.approx(brute, abs=1e-5)
    assert iou_scores(paired_iou(best_constant_box(boxes)[None], boxes))["acc50"] >= brute


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=8), seed=st.integers(0, 2**16))
@settings(max_examples=60)
def test_any_of_several_boxes_counts(counts: list[int], seed: int) -> None:
    """Against torchvision's, in any order; more right boxes never make a prediction worse."""
    predicted, known = boxes(seed)
    ends = np.cumsum([0, *counts])
    true = [known[first:last].tolist() for first, last in pairwise(ends)]
    asked = predicted[: len(counts)].tolist()
    found = best_iou(asked, true)
    expected = [
        float(box_iou(torch.tensor([box]), torch.tensor(own)).max())
        for box, own in zip(asked, true, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert best_iou(asked, [own[::-1] for own in true]).tolist() == found.tolist()
    assert (best_iou(asked, [[*own, known[-1].tolist()] for own in true]) >= found).all()
    assert best_iou([], []).shape == (0,)
