"""The same rows from JSON and packed texts; what is damaged in them is named."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.tables.written import read
from tests.refusals import expect_refusal
from xfm.data.tables.json_list import read_json_records

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


# ---------------------------------------------------------------- JSON
@settings(max_examples=30)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=8), values, max_size=4), max_size=6),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
    piece=st.sampled_from([1, 2, 7, 1 << 16]),
)
def test_a_list_is_read_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Any],
    indent: int | None,
    ascii_only: bool,
    piece: int,
) -> None:
    """However little of the file is held at a time."""
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=ascii_only), encoding="utf-8-sig")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("xfm.data.tables.json_list._PIECE", piece)
        found = [*read_json_records(path).rows(frozenset())]
    assert [row.cells for row in found] == rows
    assert [row.number for row in found] == [*range(1, len(rows) + 1)]
    if found:
        assert found[-1].read <= path.stat().st_size


# ---------------------------------------------------------------- packed
PACKS: dict[str, tuple[bytes, list[str]]] = {
    "cut": (gzip.compress(b"text,label\n" + b"a,b\n" * 9999)[:-20], ["damaged", "copy it again"]),
    "a bomb of rows": (gzip.compress(b"text,label\n" + b"a,b\n" * (5 << 20), 9), ["expands to more than"]),
}


@pytest.mark.parametrize("what", PACKS)
def test_what_is_packed_badly_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    content, words = PACKS[what]
    monkeypatch.setattr("xfm.data.tables.records.FREE", 100_000)
    (tmp_path / "a.csv.gz").write_bytes(content)
    with expect_refusal("a.csv.gz", *words):
        read(tmp_path / "a.csv.gz")
