"""The one rule of what may be left out."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.config.tables import MAX_BAD
from xfm.core.errors import UserError
from xfm.data.skipped import BAD_FILE, SkippedRecords, read_bad_rows


def leave_out(max_bad: int | None, bad: int, total: int) -> SkippedRecords:
    found = SkippedRecords(max_bad)
    for number in range(bad):
        found.add(f"a.csv:{number + 2}", "no picture")
    found.count("a.csv", "train", total, bad)
    return found


@given(st.none() | st.integers(0, 300), st.integers(1, 400), st.data())
def test_the_rule(max_bad: int | None, total: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, total))
    most = min(MAX_BAD, total // 2) if max_bad is None else min(max_bad, total - 1)
    if bad > most:
        with pytest.raises(UserError, match=r"a\.csv:2: no picture"):
            leave_out(max_bad, bad, total)
    else:
        assert leave_out(max_bad, bad, total).by_split == ({"train": bad} if bad else {})


@settings(max_examples=30)  # it waits for the disk
@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, str]) -> None:
    folder, found = tmp_path_factory.mktemp("run"), SkippedRecords(10)
    for place, reason in rows.items():
        found.note(place, reason)
    found.write(folder)
    expected = {place: reason.removeprefix(f"{place}: ") for place, reason in rows.items()}
    assert read_bad_rows(folder) == expected
    assert (folder / BAD_FILE).exists() == bool(rows)
    again = SkippedRecords(10)
    again.merge(json.loads(json.dumps(found.plain())))
    assert again.plain() == found.plain()


def test_of_nothing_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / BAD_FILE).write_text('{"place": "a", "error": "b"}\n{"place": "cut')
    assert read_bad_rows(tmp_path) == {"a": "b"}
    SkippedRecords().write(tmp_path)
    assert read_bad_rows(tmp_path) == {}
    assert SkippedRecords().sentence(tmp_path) == ""
