"""Grounding against torchvision and pycocotools on random and adversarial boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask
from torchvision.ops import box_iou

from xfm.metrics.boxes import paired_iou
from xfm.tasks.grounding import box_metrics
from xfm.tasks.rows import Reference

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


@pytest.mark.parametrize("seed", range(300))
def test_overlap_and_accuracy(seed: int) -> None:
    predicted, true = boxes(seed)
    ours = paired_iou(predicted, true)
    theirs = box_iou(torch.from_numpy(predicted), torch.from_numpy(true)).diagonal().numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    widths = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in (predicted, true)]
    coco = mask.iou(*widths, [0] * len(true)).diagonal()
    has_area = widths[0][:, 2:].prod(axis=1) > 0
    np.testing.assert_allclose(ours[has_area], coco[has_area], atol=1e-9)

    sides = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    rows = [Reference(Path("a.jpg"), "dog", tuple(box)) for box in true / sides]
    scores = box_metrics(rows, [tuple(box) for box in predicted / sides])
    assert scores["mean_iou"] == pytest.approx(theirs.mean())
    clear = abs(theirs - 0.5) > 1e-9
    assert clear.all()
    assert scores["acc50"] == pytest.approx((theirs >= 0.5).mean())


def test_half_an_overlap_counts() -> None:
    row = Reference(Path("a.jpg"), "dog", (0.0, 0.0, 0.5, 0.5))
    assert box_metrics([row], [(0.0, 0.0, 0.5, 0.25)]) == {"acc50": 1.0, "mean_iou": 0.5}
