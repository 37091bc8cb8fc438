"""The journal: what it keeps, also of a process that is killed."""

import sqlite3
import sys
from pathlib import Path

import pytest

from tests.processes import can_unshare, run
from tests.refusals import expect_refusal
from xfm.search.journal import JOURNAL, Journal, State
from xfm.search.store import IndexedPicture


def entry(key: str, **metadata) -> IndexedPicture:
    return IndexedPicture(key, f"from {key}", 3, 2, key.encode(), metadata)


def test_a_picture_waits_and_is_stored(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number, key in enumerate("abc"):
        journal.take(entry(key, n=1.5, t="x", b=True), f"stamp {key}", bytes([number]))
    assert journal.waiting() == [entry(key, n=1.5, t="x", b=True) for key in "abc"]
    assert [one.key for one in journal.waiting(2)] == journal.waiting_keys()[:2] == ["a", "b"]
    journal.stored(["a", "c"])
    assert journal.waiting_keys() == ["b"]
    assert journal.counts() == {State.WAITING: 1, State.STORED: 2, State.DUPLICATE: 0, State.BAD: 0}
    assert [journal.holder(bytes([n])) for n in range(4)] == ["a", "b", "c", None]
    item = journal.item("a")
    assert item is not None
    assert (item.state, item.stamp, item.told) == (State.STORED, "stamp a", None)


def test_what_looked_like_a_picture_may_come_when_that_goes(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.take(entry("a"), "1", b"x")
    journal.pass_over("b", "2", State.DUPLICATE, "a")
    journal.pass_over("c", "3", State.BAD, "it is broken")
    assert [*journal.offered()] == ["a", "b", "c"]
    assert journal.forget(["a", "nothing"]) == 1
    assert [*journal.offered()] == ["c"]
    assert journal.holder(b"x") is None
    assert journal.waiting() == []


def test_a_file_system_that_is_read_only_is_read(tmp_path: Path) -> None:
    if not can_unshare():
        pytest.skip("needs root, for a mount of its own")
    journal = Journal(tmp_path)
    journal.take(entry("a"), "", b"a")
    journal.close()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from xfm.search.journal import Journal\n"
        "print(Journal(Path(sys.argv[1]), readonly=True).waiting_keys())\n"
    )
    mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c "$3" "$1"'
    ended = run(["unshare", "-m", "bash", "-c", mount, "-", str(tmp_path), sys.executable, code])
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
