"""Thrift's compact encoding: what pyarrow reads, and bytes that promise what is not there."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xfm.data.tables.parquet_pages import read_page_header
from xfm.data.tables.thrift import Ways, walk

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
MANY = b"\x80" * 8 + b"\x10"
"""2**60 as a number of seven bits a byte."""
ENDLESS = [
    *(bytes([0x19, 0xF0 | kind]) + MANY for kind in (1, 2, 3, 7, 8, 12, 13)),  # lists
    *(b"\x1b" + MANY + bytes([kinds]) for kinds in (0x11, 0x33, 0x77, 0xCC)),  # maps
    b"\x18" + MANY,  # a text
]
HEADER = b"\x15\x00\x15\x04\x15\x06\x5c\x15\x02\x00"
"""Of a page: its kind, 2 bytes of 3, one value; the structure is open."""


def told(data: bytes, ways: Ways) -> tuple[dict[tuple[int, ...], int], int]:
    found: dict[tuple[int, ...], int] = {}
    end = walk(data, ways, lambda way, kind, number: found.update({way: number}))
    return found, end


def test_a_footer_says_what_pyarrow_reads(tmp_path: Path) -> None:
    rows = [{"a": number, "b": [str(number)] * 3} for number in range(70)]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=20)
    data = (tmp_path / "a.parquet").read_bytes()
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    metadata = parquet.read_metadata(tmp_path / "a.parquet")
    found, end = told(footer, {3: {}, 4: {1: {3: {5: {}}}, 3: {}}})
    assert end == len(footer)
    assert not {(4, 0), (4, 0, 1, 0)} & found.keys(), "items of lists are not told"
    assert (found[3,], found[4,]) == (metadata.num_rows, metadata.num_row_groups)
    for group in range(metadata.num_row_groups):
        assert found[4, group, 3] == metadata.row_group(group).num_rows
        for column in range(metadata.num_columns):
            values = metadata.row_group(group).column(column).num_values
            assert found[4, group, 1, column, 3, 5] == values


@pytest.mark.parametrize("data", ENDLESS)
def test_what_promises_more_than_there_is_ends_at_once(data: bytes) -> None:
    with pytest.raises((IndexError, ValueError)):
        walk(data + b"\0" * 50, {}, lambda way, kind, number: None)


@given(data=st.binary(max_size=200), ways=st.sampled_from([{}, {1: {}, 2: {1: {}}}, {4: {1: {3: {}}}}]))
@example(data=b"\x1c" * 10_000, ways={1: {}})
@example(data=b"\x19\x19" * 10_000, ways={1: {}})
def test_any_bytes_are_a_structure_or_none(data: bytes, ways: Ways) -> None:
    try:
        found, end = told(data, ways)
    except (IndexError, ValueError):
        return
    assert 0 < end <= len(data)
    assert data[end - 1] == 0
    assert all(way[0] in ways for way in found)


def test_a_page_that_says_its_size_twice_or_as_another_kind_is_none() -> None:
    page, end = read_page_header(HEADER + b"\0")
    assert (page.expanded, page.stored, page.values, end) == (2, 3, 1, len(HEADER) + 1)
    for again in (b"\x05\x04\x02", b"\x02\x04", b"\x06\x04\x02", b"\x09\x04\x03", b"\x0c\x0a\x15\x02\x00"):
        with pytest.raises(ValueError, match="no header"):
            read_page_header(HEADER + again + b"\0")
    with pytest.raises(ValueError, match="no header"):
        read_page_header(HEADER.replace(b"\x15\x04", b"\x16\x04") + b"\0")
