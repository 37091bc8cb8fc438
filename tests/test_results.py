"""Kept results, and the tables of the documentation that are made from them."""

import numpy as np
import pytest
from benchmarks.crossed import crossed
from benchmarks.results import MARKS, ROOT, TABLES, due
from scipy import stats


@pytest.mark.parametrize("page", TABLES)
def test_a_page_has_the_numbers_of_its_file(page: str) -> None:
    """`make tables` writes them."""
    assert (ROOT / page).read_text() == due()[ROOT / page]
    assert MARKS.search((ROOT / page).read_text())


def test_intervals_of_seeds_and_cases_hold_the_true_difference() -> None:
    """In 95 of 100 tables whose seeds, cases and cells are all drawn; of seeds alone it is Student's t."""
    rng = np.random.default_rng(0)
    seeds, cases, cells = (
        rng.normal(size=(400, 5, 1)),
        rng.normal(size=(400, 1, 60)),
        rng.normal(size=(400, 5, 60)),
    )
    for of_seeds, of_cases in ((1, 1), (0.2, 2), (1, 0), (0, 2)):
        found = [crossed(table) for table in of_seeds * seeds + of_cases * cases + cells]
        assert 0.92 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.995
    alike = crossed(np.broadcast_to(np.arange(5.0)[:, None], (5, 60)))
    half = stats.t.ppf(0.975, 4) * np.arange(5.0).std(ddof=1) / 5**0.5
    assert (alike.low, alike.high) == pytest.approx((2 - half, 2 + half))
