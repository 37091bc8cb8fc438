"""Boxes: intersection over union, and the best constant box, a baseline of grounding."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from xfm.metrics.classification import Array

GRID = 12
"""Centres and sides are tried in steps of 1 / GRID."""
REFINEMENTS = (1 / 24, 1 / 48)
"""Then each of the four numbers is moved by these until nothing improves."""
CHUNK = 512


def paired_iou(first: Array, second: Array) -> NDArray[np.float64]:
    """[N] IoU of boxes [N, 4] (left, top, right, bottom), broadcast; 0 where both are empty."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    corner = np.maximum(first[..., :2], second[..., :2])
    opposite = np.minimum(first[..., 2:], second[..., 2:])
    overlap = np.clip(opposite - corner, 0, None).prod(axis=-1)
    union = _areas(first) + _areas(second) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def best_iou(
    predicted: Sequence[Sequence[float]], true: Sequence[Sequence[Sequence[float]]]
) -> NDArray[np.float64]:
    """[N] the largest IoU of each predicted box with any of its row's true boxes.

    The any-box protocol of Flickr30k Entities (MDETR, arXiv 2104.12763).
    """
    counts = [len(own) for own in true]
    flat = np.array([box for own in true for box in own]).reshape(-1, 4)
    iou = paired_iou(np.repeat(np.array(predicted).reshape(-1, 4), counts, axis=0), flat)
    return np.maximum.reduceat(iou, np.cumsum([0, *counts[:-1]])) if counts else iou


def iou_scores(iou: NDArray[np.float64]) -> dict[str, float]:
    """Accuracy at IoU 0.5 and mean IoU."""
    return {"acc50": float((iou >= 0.5).mean()), "mean_iou": float(iou.mean())}


def _areas(boxes: Array) -> NDArray[np.float64]:
    return np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1)


def best_constant_box(boxes: Array) -> NDArray[np.float64]:
    """[4] box (fractions) that reaches IoU 0.5 on most of [N, 4] boxes; ties go to the larger mean IoU.

    Grid search over centre and size, then coordinate-wise refinement.
    """
    candidates = grid_boxes()
    best = candidates[int(np.argmax(constant_box_scores(candidates, boxes)))]
    for step in REFINEMENTS:
        while True:
            moves = best + step * np.array(list(product((-1, 0, 1), repeat=4)))
            moves = np.clip(moves, 0.0, 1.0)
            moves = moves[(moves[:, 2] > moves[:, 0]) & (moves[:, 3] > moves[:, 1])]
            scores = constant_box_scores(np.concatenate([best[None], moves]), boxes)
            if scores.argmax() == 0:
                break
            best = moves[scores.argmax() - 1]
    return best


def grid_boxes() -> NDArray[np.float64]:
    """[M, 4] boxes whose corners lie on the grid."""
    spans = [(low / GRID, high / GRID) for low in range(GRID) for high in range(low + 1, GRID + 1)]
    return np.array([(left, top, right, bottom) for left, right in spans for top, bottom in spans])


def constant_box_scores(candidates: Array, boxes: Array) -> NDArray[np.float64]:
    """[M] share of the boxes that each candidate reaches, plus its mean IoU / 10^6 to break ties."""
    scores = np.empty(len(candidates))
    for start in range(0, len(candidates), CHUNK):
        overlap = paired_iou(candidates[start : start + CHUNK, None], np.asarray(boxes)[None])  # [m, N]
        scores[start : start + CHUNK] = (overlap >= 0.5).mean(axis=1) + overlap.mean(axis=1) * 1e-6
    return scores
