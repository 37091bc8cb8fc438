"""Relative-position tables for another grid of patches (spec, "New resolution").

The old offsets are laid out on a geometric progression that spans the new window: the nearest ones keep their
distance of one patch, the outermost reach the new edge. A cubic spline is then read at the new offsets.
"""

import numpy as np
import torch
from torch import Tensor

from xfm.config.encoders import Grid

RATIO_RANGE = (1.01, 1.5)
PRECISION = 1e-6
_EXTRA = 3  # rows of cls -> patch, patch -> cls, cls -> cls


def resample_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """The relative-position table of a grid for another grid.

    Each head is interpolated by itself, by a cubic spline per axis with not-a-knot ends; offsets beyond the
    progression's end take the value there. The three rows of the cls slot stay.

    Args:
        table: [(2 n - 1)(2 m - 1) + 3, H] float, the rows of a grid of n rows and m columns of patches.
        old: n and m.
        new: rows and columns of the new grid.

    Returns:
        The table of the new grid, of the same dtype and device; the very values where the grids are equal.

    Raises:
        ValueError: the table's rows are not those of the old grid.

    Source: BEiT (arXiv 2106.08254), as X-FM uses it for fine-tuning at 384 px.
    """
    (height, width), (new_height, new_width) = ((2 * n - 1, 2 * m - 1) for n, m in (old, new))
    if len(table) != height * width + _EXTRA:
        raise ValueError(f"a table of {len(table)} rows does not belong to a grid of {old[0]} x {old[1]}")
    if old == new:
        return table.clone()
    offsets = table[:-_EXTRA].detach().to("cpu", torch.float64).view(height, width, -1).numpy()
    down = _resample_axis(offsets, new_height, axis=0)
    both = torch.from_numpy(_resample_axis(down, new_width, axis=1))  # [2 n' - 1, 2 m' - 1, H]
    return torch.cat([both.flatten(0, 1).to(table), table[-_EXTRA:]])


def progression_ratio(half: int, new_half: int) -> float:
    """The ratio q, between 1.01 and 1.5, whose sum 1 + q + ... + q^(half - 1) is `new_half`, by bisection."""
    low, high = RATIO_RANGE
    ratio = low
    while high - low > PRECISION:
        ratio = (low + high) / 2
        if (1 - ratio**half) / (1 - ratio) > new_half:
            high = ratio
        else:
            low = ratio
    return ratio


def _resample_axis(values: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Values at the offsets of one axis for an axis of `length` offsets around 0; an equal length stays."""
    old = values.shape[axis]
    if old == length:
        return values
    half, new_half = old // 2, length // 2
    if half == 0:  # one patch: there is nothing to interpolate between
        return np.repeat(values, length, axis=axis)
    distances = np.cumsum(progression_ratio(half, new_half) ** np.arange(half, dtype=np.float64))
    places = np.concatenate([-distances[::-1], [0.0], distances])
    wanted = np.clip(np.arange(-new_half, new_half + 1), places[0], places[-1])
    from scipy.interpolate import make_interp_spline

    # Three places carry a parabola, not a cubic: a grid of two patches.
    return make_interp_spline(places, values, k=min(3, old - 1), axis=axis)(wanted)
