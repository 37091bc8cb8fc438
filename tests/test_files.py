"""Files and folders are replaced whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from tests.failing import fail_rename
from xfm.core.errors import UserError
from xfm.core.files import (
    drafting,
    path_below,
    read_json_object,
    replace_folder,
    sync_folder,
    write_text,
    writing,
)

DEAD = 999_999_999  # more than any process id


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "content").write_text(text)
    return path


def test_text_that_cannot_be_put_in_place_leaves_the_old(tmp_path, monkeypatch):
    write_text(tmp_path / "a", "old")
    fail_rename(monkeypatch, 1)
    with pytest.raises(OSError, match="Input/output"):
        write_text(tmp_path / "a", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_text_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, real=real: (calls.append(n), real(*a))[1])
    write_text(tmp_path / "a", "one")
    assert calls == ["fsync", "replace"]


def test_text_follows_no_link_that_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / f".a.partial-{os.getpid()}").symlink_to(tmp_path / "theirs")
    write_text(tmp_path / "a", "mine")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "mine", "theirs": "theirs"}


@pytest.mark.parametrize("target", [True, False])
def test_what_killed_processes_left_goes(tmp_path: Path, target: bool) -> None:
    """A folder that had stepped aside comes back where no new one took its place."""
    folder(tmp_path / f".a.partial-{DEAD}", "half")
    folder(tmp_path / f".a.partial-{os.getpid()}", "half")
    folder(tmp_path / f".a.old-{DEAD}", "old")
    kept = {f".a.partial-{os.getppid()}", f".ab.partial-{DEAD}", ".a.partial-x", "a.partial-1"}
    for name in kept:
        folder(tmp_path / name, "not ours")
    if target:
        folder(tmp_path / "a", "new")
    with drafting(tmp_path / "a") as draft:
        assert list(draft.iterdir()) == []
        assert {p.name for p in tmp_path.iterdir()} == {*kept, "a", draft.name}
    assert {p.name for p in tmp_path.iterdir()} == {*kept, "a"}
    assert (tmp_path / "a" / "content").read_text() == ("new" if target else "old")


def test_paths_stay_below_their_folder(tmp_path: Path) -> None:
    inside = folder(tmp_path / "in", "x")
    (inside / "out").symlink_to(tmp_path)
    (inside / "loop").symlink_to(inside / "loop")
    for name in ("content", "./content", "deep/../content", "absent/file", str(inside / "content")):
        assert path_below(inside, name) == inside / name
    for name in ("..", "../in2/x", "/etc/passwd", "out/x", "a\0b", "\ud800", "deep/../../x"):
        assert path_below(inside, name) is None


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"a: the disk is full; free some space or wait"),
        (UserError("b: the disk is full (No space left on device); wait"), r"^b: the disk is full"),
        (OSError(errno.EFBIG, "File too large"), r"a: no file may grow that large here; .*ulimit -f"),
        (PermissionError(errno.EACCES, "Denied", "x"), r"a cannot be written \(Denied: x\); choose another"),
    ],
)
def test_what_keeps_a_place_from_being_written_is_one_sentence(error: Exception, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence), writing(Path("a"), "or wait"):
        raise error


@pytest.mark.parametrize("old", [True, False])
def test_a_folder_takes_its_place(tmp_path: Path, old: bool) -> None:
    if old:
        folder(tmp_path / "target", "old")
    draft = folder(tmp_path / "draft", "new")
    sync_folder(draft)
    replace_folder(draft, tmp_path / "target")
    assert [p.name for p in tmp_path.iterdir()] == ["target"]
    assert (tmp_path / "target" / "content").read_text() == "new"


@pytest.mark.parametrize("failing", [1, 2])  # the old one's, the new one's
def test_a_folder_that_cannot_be_renamed_leaves_the_old(tmp_path, monkeypatch, failing):
    target, draft = folder(tmp_path / "target", "old"), folder(tmp_path / "draft", "new")
    fail_rename(monkeypatch, failing)
    with pytest.raises(OSError, match="Input/output"):
        replace_folder(draft, target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["draft", "target"]
    assert (target / "content").read_text() == "old"


# ---------------------------------------------------------------- reading
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "a pipe or a device"),
        (lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
        (lambda path: path.touch() or os.truncate(path, 10 << 30), "10737418240 bytes, more than the limit"),
    ],
)
def test_what_is_no_file_of_settings_is_named_at_once(tmp_path, make, reason):
    path = tmp_path / "a.json"
    make(path)
    with pytest.raises(UserError, match=reason) as found:
        read_json_object(path)
    assert str(path) in str(found.value)
