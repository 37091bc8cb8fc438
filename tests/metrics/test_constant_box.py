import numpy as np
import pytest

from xfm.metrics.boxes import GRID, accuracy_at_iou, best_constant_box, constant_box_scores, grid_boxes


def boxes_around(rng: np.random.Generator, count: int) -> np.ndarray:
    centre, size = rng.normal(0.5, 0.1, (count, 2)), rng.uniform(0.2, 0.5, (count, 2))
    return np.clip(np.concatenate([centre - size / 2, centre + size / 2], axis=1), 0, 1)


def test_grid_holds_every_box_once() -> None:
    grid = grid_boxes()
    assert len(grid) == len(np.unique(grid, axis=0)) == (GRID * (GRID + 1) // 2) ** 2
    assert (grid[:, 2:] > grid[:, :2]).all()


def test_best_box_is_at_least_as_good_as_brute_force_over_the_grid() -> None:
    boxes = boxes_around(np.random.default_rng(0), 80)
    brute = max(accuracy_at_iou(np.repeat(box[None], len(boxes), axis=0), boxes) for box in grid_boxes())
    scores = constant_box_scores(grid_boxes(), boxes, 0.5)
    assert scores.max() == pytest.approx(brute, abs=1e-5)
    best = best_constant_box(boxes)
    assert accuracy_at_iou(np.repeat(best[None], len(boxes), axis=0), boxes) >= brute


def test_one_repeated_box_is_found() -> None:
    box = np.array([0.31, 0.22, 0.58, 0.71])
    best = best_constant_box(np.repeat(box[None], 5, axis=0))
    np.testing.assert_allclose(best, box, atol=1 / 48)
