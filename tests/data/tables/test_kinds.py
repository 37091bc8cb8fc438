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
from xfm.config.tables import PLAIN
from xfm.data.tables.json_list import read_json_records

ROWS = [{"text": 'a "red", cat\n', "label": "cat"}, {"text": "größe", "label": "dog"}]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def plain(rows: Any) -> list[dict[str, Any]]:
    return [{name: row[name] for name in ("text", "label")} for row in rows]


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
def test_packed_texts_give_the_same_rows(tmp_path: Path) -> None:
    written = {
        ".csv": "text,label\n"
        + "".join(f'"{r["text"]}",{r["label"]}\n'.replace('"red"', '""red""') for r in ROWS),
        ".jsonl": "\n".join(map(json.dumps, ROWS)),
        ".json": json.dumps(ROWS),
    }
    written |= {".tsv": "text\tlabel\na, b\tc\n", ".ndjson": written[".jsonl"]}
    assert {*written} == {*PLAIN}
    for kind, text in written.items():
        (tmp_path / f"a{kind}").write_text(text)
        (tmp_path / f"b{kind}.gz").write_bytes(gzip.compress(text.encode()))
        assert plain(read(tmp_path / f"b{kind}.gz")) == plain(read(tmp_path / f"a{kind}"))
        assert kind == ".tsv" or plain(read(tmp_path / f"b{kind}.gz")) == ROWS


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
