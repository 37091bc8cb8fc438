"""Folds share nothing and score every row once; a split that was saved is that of another run."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import xfm
from tests.alike import thorough
from tests.finetuning.conftest import SAMPLES, on_table, stopped, text_table
from tests.reports.written import details_of, page_of
from xfm.config.finetune import FinetuneConfig, Preset
from xfm.config.training import Precision
from xfm.finetuning.cross_validation import CROSS
from xfm.finetuning.data import fold_rows
from xfm.finetuning.finished import FinetuneResult
from xfm.reports.scores import read_scores
from xfm.training import distributed

FOLDED = FinetuneConfig(folds=3, steps=6, batch_size=4, device="cpu", precision=Precision.FP32)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=10, max_size=80),
    st.integers(2, 6),
    st.integers(0, 5),
)
def test_folds_part_rows_by_groups_and_evenly(rows: list[tuple[int, int]], folds: int, seed: int) -> None:
    groups, strata = [group for group, _ in rows], [label for _, label in rows]
    parts = fold_rows(groups, strata, folds, seed)
    assert sorted(row for part in parts for row in part) == list(range(len(rows)))
    homes: dict[int, set[int]] = {}
    for place, part in enumerate(parts):
        for row in part:
            homes.setdefault(groups[row], set()).add(place)
    assert all(len(home) == 1 for home in homes.values())
    assert parts == fold_rows(groups, strata, folds, seed)
    alone = fold_rows(range(len(rows)), strata, folds, seed)
    assert max(map(len, alone)) - min(map(len, alone)) <= 1 + len(set(strata))
    for label in set(strata):
        counts = [sum(strata[row] == label for row in part) for part in alone]
        assert max(counts) - min(counts) <= 1


def table_of(folder: Path, rows: int = 48) -> Path:
    words = {"good": "red", "bad": "blue"}
    kinds = [*words]
    return text_table(folder, [f"a {words[kinds[n % 2]]} square {n},{kinds[n % 2]}" for n in range(rows)])


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, FinetuneResult]:
    """A table, the folder of a run by folds on it, and what came out."""
    place = tmp_path_factory.mktemp("folds")
    table, out = table_of(place), place / "out"
    return table, out, on_table(model, table, out, FOLDED)


def test_every_row_is_scored_once_by_a_model_that_did_not_see_it(
    whole: tuple[Path, Path, FinetuneResult],
) -> None:
    _, out, done = whole
    assert done.crossed is not None
    scores = read_scores(out / "metrics.json")
    assert scores == done.scores
    key = f"text-classification/{CROSS}/accuracy"
    assert scores[key].n == 48 == len(done.predictions[CROSS])
    folds = details_of(out)["folds"]
    assert sum(fold["rows"] for fold in folds) == 48
    right = sum(fold["rows"] * fold["metrics"]["accuracy"] for fold in folds)
    assert right / 48 == pytest.approx(scores[key].value)
    assert [fold["train"] + fold["valid"] + fold["rows"] for fold in folds] == [48] * 3
    middle = sorted(fold["step"] for fold in folds)[1]
    assert done.tuned.step == middle
    assert len(done.task.train_rows) == 48
    assert done.leaderboards[CROSS].n == 48
    page = page_of(out)
    assert "Each fold was scored by a model that did not learn from it" in page
    assert "Decided by preset and rows" in page
    assert done.crossed.chosen in page.replace("&#39;", "'")
    assert not list(out.rglob("checkpoints"))
    assert not list(out.rglob("best"))
    assert xfm.pipeline("text-classification", model=out)("a red square")[0]["label"] in ("good", "bad")


@thorough
def test_best_has_folds_and_fast_folds_its_probe(model: Path, tmp_path: Path) -> None:
    table = table_of(tmp_path, 40)
    own = FinetuneConfig(preset=Preset.BEST, steps=4, batch_size=4, baseline=False, device="cpu")
    done = on_table(model, table, tmp_path / "best", own)
    assert len(done.crossed.folds) == 5
    assert "the median of the folds' best" in done.crossed.chosen
    assert (done.decisions["average"], done.decisions["folds"]) == ("0.999", "5")
    quick = FinetuneConfig(preset=Preset.FAST, folds=4, device="cpu")
    done = on_table(model, table, tmp_path / "fast", quick)
    assert "a probe of all rows" in done.crossed.chosen
    assert f"{done.tuned.probe.penalty:g}" in done.crossed.chosen


@thorough
def test_folds_go_on_where_they_stopped(
    model: Path, whole: tuple[Path, Path, FinetuneResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table, _, done), out = whole, tmp_path / "out"
    with stopped(monkeypatch, out / "folds" / "2", 3):
        on_table(model, table, out, FOLDED)
    monkeypatch.setenv(distributed.RESTARTS, "1")  # as torchrun does: it resumes by itself
    again = on_table(model, table, out, FOLDED)
    assert again.predictions == done.predictions
    assert again.tuned.step == done.tuned.step


@pytest.mark.parametrize(
    ("task", "table", "options", "words"),
    [
        ("retrieval", "captions.csv", "--folds 2", ["--folds", "retrieval", "ranks all rows"]),
        ("text-classification", "reviews.csv", "--folds 6", ["reviews.csv", "10 groups", "--folds 5"]),
    ],
)
def test_folds_that_cannot_be_are_refused(task, table, options, words, model, tmp_path, cli):
    given = ("--model", model, "--train", SAMPLES / table, "--out", tmp_path / "out", *options.split())
    cli.expect_refusal(words, "finetune", task, *given)
