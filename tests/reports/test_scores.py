"""`metrics.json` is whole or not there, and says what is wrong with it."""

from pathlib import Path

from tests.refusals import expect_refusal
from xfm.reports.scores import Score, read_scores, write_scores


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
