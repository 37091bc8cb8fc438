"""Rows that are made when they are asked for are those of a list."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfm.tasks.rows import ChosenRows, ClassFolders, Labelled

NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), min_size=1
)
CLASSES = st.dictionaries(st.sampled_from(["n01", "n02", "é", "n 4"]), NAMES)


@given(CLASSES, st.slices(20))
def test_they_are_those_of_a_list(classes: dict[str, list[str]], part: slice) -> None:
    folder = Path("/data/train")
    known = [Labelled(folder / label / name, label) for label, names in classes.items() for name in names]
    rows = ClassFolders(folder, classes)
    assert list(rows) == known
    assert [rows[place] for place in range(len(rows))] == known
    assert [rows[place] for place in range(-len(rows), 0)] == known
    assert list(rows[part]) == known[part]
    assert rows.labels == tuple(classes)
    for place in (len(known), -len(known) - 1):
        with pytest.raises(IndexError):
            rows[place]


@given(CLASSES, st.data())
def test_some_of_them_are_those_of_a_list(classes: dict[str, list[str]], data: st.DataObject) -> None:
    rows = ClassFolders(Path("a"), classes)
    places = data.draw(st.lists(st.integers(0, len(rows) - 1)) if len(rows) else st.just([]))
    chosen = ChosenRows(rows, places)
    assert list(chosen) == [rows[place] for place in places]
    assert [row.image for row in chosen] == [rows[place].image for place in places]
    assert len(chosen) == len(places)
