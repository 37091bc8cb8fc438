"""`metrics.json` is whole or not there, and says what is wrong with it."""

import errno
import json
import os
from pathlib import Path

import pytest

from tests.refusals import expect_refusal
from xfm.reports.scores import Score, read_scores, write_json, write_scores


def test_scores_are_written_whole(tmp_path: Path) -> None:
    scores = {"a/b/c": Score(0.5, 0.1, None, 10, 0)}
    write_scores(tmp_path / "deep" / "metrics.json", scores)
    assert read_scores(tmp_path / "deep" / "metrics.json") == scores
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["metrics.json"]


def test_unreadable_scores_are_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    with expect_refusal(str(path), "does not exist"):
        read_scores(path)
    path.write_text("[1]")
    with expect_refusal(str(path), "not a metrics file"):
        read_scores(path)


def test_a_full_disk_is_a_sentence_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with expect_refusal(f"cannot write {path}: No space left on device; free some space"):
        write_json(path, {"new": 2})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_impossible_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with expect_refusal("cannot write", "below.json"):
        write_json(tmp_path / "file" / "below.json", {})
