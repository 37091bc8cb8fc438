"""Kept results, and the tables of the documentation that are made from them."""

import pytest
from benchmarks.results import MARKS, ROOT, TABLES, due


@pytest.mark.parametrize("page", TABLES)
def test_a_page_has_the_numbers_of_its_file(page: str) -> None:
    """`make tables` writes them."""
    assert (ROOT / page).read_text() == due()[ROOT / page]
    assert MARKS.search((ROOT / page).read_text())
