"""Text, image and group score by their definition, and their chance by all orders."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfm.metrics.composition import CHANCES, composition_right, mean_over_kinds


@given(st.lists(st.tuples(*[st.sampled_from([-1.5, 0.0, 1e-9, 2.0])] * 4), min_size=1, max_size=8))
def test_scores_are_by_the_paper(rows: list[tuple[float, ...]]) -> None:
    """Of captions with pictures: c0 i0, c1 i0, c0 i1, c1 i1. Ties are not right."""
    scores = np.array(rows).reshape(-1, 2, 2)
    text, image, group = (right.tolist() for right in composition_right(scores).values())
    assert text == [a > b and d > c for a, b, c, d in rows]
    assert image == [a > c and d > b for a, b, c, d in rows]
    assert group == [one and other for one, other in zip(text, image, strict=True)]
    assert sum(group) <= min(sum(text), sum(image))
    perfect, inverted = (scores + sign * 9 * np.eye(2) for sign in (1, -1))
    for one, share in ((perfect, 1), (inverted, 0), (0 * scores, 0)):
        assert {right.mean() for right in composition_right(one).values()} == {share}


def test_chance_is_the_mean_over_all_orders() -> None:
    orders = np.array(list(permutations(range(4))), dtype=float)
    found = composition_right(orders.reshape(-1, 2, 2)) | composition_right(orders[:, None, :2])
    assert {name: right.mean() for name, right in found.items()} == pytest.approx(CHANCES)


def test_one_picture_prefers_the_first_caption() -> None:
    right = composition_right(np.array([[[0.9, 0.1, 0.2]], [[0.9, 0.1, 0.9]], [[0.1, 0.1, 0.2]]]))["accuracy"]
    assert right.tolist() == [True, False, False]
    assert mean_over_kinds(right, np.array([4, 4, 0]), np.arange(3)) == 0.25
