"""The journal: what it keeps, also of a process that is killed."""

import sqlite3
import sys
from pathlib import Path

import pytest

from tests.alike import thorough
from tests.processes import can_unshare, run
from tests.refusals import expect_refusal
from xfm.search.journal import JOURNAL, Journal, JournalItem, State


def test_the_journal_knows_pictures_by_key_and_by_pixels(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    items = {key: JournalItem(State.STORED, f"stamp {key}", None, bytes([n])) for n, key in enumerate("abc")}
    journal.note(items)
    assert [journal.holder(bytes([n])) for n in range(4)] == ["a", "b", "c", None]
    assert {key: journal.item(key) for key in "abc"} == items
    with expect_refusal(JOURNAL):
        journal.note({"d": JournalItem(State.STORED, "", None, b"d"), "e": items["a"]})
    assert journal.item("d") is None  # all or none


def test_what_looked_like_a_picture_may_come_when_that_goes(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.note({"a": JournalItem(State.STORED, "1", None, b"x")})
    journal.note({"b": JournalItem(State.DUPLICATE, "2", "a"), "c": JournalItem(State.BAD, "3", "broken")})
    assert [*journal.offered()] == ["a", "b", "c"]
    assert journal.forget(["a", "nothing"]) == 1
    assert [*journal.offered()] == ["c"]
    assert journal.holder(b"x") is None


@thorough
def test_a_file_system_that_is_read_only_is_read(tmp_path: Path) -> None:
    if not can_unshare():
        pytest.skip("needs root, for a mount of its own")
    journal = Journal(tmp_path)
    journal.note({"a": JournalItem(State.STORED, "", None, b"a")})
    journal.close()
    code = (
        "import ctypes, subprocess, sys\n"
        "from pathlib import Path\n"
        "from xfm.search.journal import Journal\n"
        "assert not ctypes.CDLL(None).unshare(0x20000)\n"
        "for words in ('--make-rprivate /', f'--bind {sys.argv[1]} {sys.argv[1]}',\n"
        "    f'-o remount,ro,bind {sys.argv[1]}'):\n"
        "    subprocess.run(['mount', *words.split()], check=True)\n"
        "print(Journal(Path(sys.argv[1]), readonly=True).offered())\n"
    )
    ended = run([sys.executable, "-c", code, str(tmp_path)])
    assert (ended.status, ended.out.strip()) == (0, "['a']"), ended.err


def test_a_database_of_others_is_refused_and_not_written(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mine.db") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    before = (tmp_path / "mine.db").read_bytes()
    (tmp_path / JOURNAL).symlink_to(tmp_path / "mine.db")
    with expect_refusal(JOURNAL, "build"):
        Journal(tmp_path)
    assert (tmp_path / "mine.db").read_bytes() == before
    assert len([*tmp_path.iterdir()]) == 2


def test_a_detail_that_is_no_text_is_damage(tmp_path: Path) -> None:
    own = Journal(tmp_path)
    own._database.execute("INSERT INTO items VALUES ('a', '1', 'bad', NULL, x'fe')")
    with expect_refusal("damaged", "build"):
        own.item("a")
