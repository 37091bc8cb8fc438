"""Files and folders are replaced whole or not at all."""

import errno
import hashlib
from pathlib import Path

import pytest

from tests.failing import fail_rename
from xfm.files import file_digest, is_disk_full, replace_folder, sync_folder, write_text


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "content").write_text(text)
    return path


def test_text_is_the_same_bytes_everywhere(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "one\ntwo \u20ac\n")
    assert (tmp_path / "a").read_bytes() == b"one\ntwo \xe2\x82\xac\n"


def test_text_that_cannot_be_put_in_place_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a", "old")
    fail_rename(monkeypatch, 1)
    with pytest.raises(OSError, match="Input/output"):
        write_text(tmp_path / "a", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


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
def test_a_folder_that_cannot_be_renamed_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    target, draft = folder(tmp_path / "target", "old"), folder(tmp_path / "draft", "new")
    fail_rename(monkeypatch, failing)
    with pytest.raises(OSError, match="Input/output"):
        replace_folder(draft, target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["draft", "target"]
    assert (target / "content").read_text() == "old"


def test_a_folder_stays_if_there_is_no_new_one(tmp_path: Path) -> None:
    target = folder(tmp_path / "target", "old")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "no draft", target)
    assert (target / "content").read_text() == "old"


def test_a_full_disk_is_known_by_number_and_by_text() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "x"))
    assert is_disk_full(OSError(errno.EDQUOT, "x"))
    assert is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_disk_full(OSError(errno.EACCES, "x"))
    assert not is_disk_full(RuntimeError("os error 5"))


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
