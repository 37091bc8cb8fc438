"""Which model to use: intervals against scipy, and the sentence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap

from tests.evaluation.tiny import tiny_task
from xfm.finetuning.baselines.strong import BaselineResult, scored
from xfm.finetuning.leaderboard import (
    Advice,
    Contender,
    Leaderboard,
    System,
    SystemKind,
    leaderboard,
    verdict,
)
from xfm.tasks.base import Task
from xfm.tasks.rows import LabelledText
from xfm.tasks.text_classification import TextClassificationTask, TextRegressionTask

LABELS = ("bad", "good")


def answers(right: Sequence[bool]) -> tuple[list[LabelledText], list[str]]:
    """Rows, and labels of which so many are right."""
    rows = [LabelledText(f"text {place}", LABELS[place % 2]) for place in range(len(right))]
    wrong = {"bad": "good", "good": "bad"}
    return rows, [
        str(row.label) if hit else wrong[str(row.label)] for row, hit in zip(rows, right, strict=True)
    ]


def placed(model: Sequence[bool], rival: Sequence[bool], groups: np.ndarray | None = None) -> Leaderboard:
    rows, _ = answers(model)
    task = tiny_task(TextClassificationTask, rows, LABELS)
    guesses = [[task.labels.certain((label,)) for label in answers(hits)[1]] for hits in (model, rival)]
    return board_of(task, rows, *guesses, groups)


def board_of(
    task: Task[Any, Any, Any],
    rows: list[LabelledText],
    model: list[Any],
    rival: list[Any],
    groups: np.ndarray | None = None,
) -> Leaderboard:
    """The board of two systems that guess so."""
    named = (("this model", SystemKind.MODEL, model), ("simple", SystemKind.STRONG, rival))
    systems = [
        System(name, sort, scored(task, {"test": rows}, {"test": guesses})) for name, sort, guesses in named
    ]
    return leaderboard(task, "test", rows, systems, np.arange(len(rows)) if groups is None else groups, {})


def test_the_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    model = rng.random(150) < 0.57
    rival = model | (rng.random(150) < 0.5)  # right wherever the model is
    board = placed(model.tolist(), rival.tolist())
    place = board.places[0]
    gains = rival.astype(float) - model
    reference = bootstrap((gains,), np.mean, method="percentile", rng=1).confidence_interval
    assert (place.gain_low, place.gain_high) == pytest.approx((reference.low, reference.high), abs=0.015)
    assert place.gain == pytest.approx(gains.mean())
    assert (place.name, place.shown, board.use) == ("simple", True, Advice.BASELINE)
    assert board.verdict.startswith(f"Use simple: {100 * gains.mean():.1f} points better (95 % ")
    assert board.verdict.endswith("than this model on n=150 test rows")


def test_a_better_model_is_used() -> None:
    rng = np.random.default_rng(0)
    rival = rng.random(200) < 0.4
    board = placed([True] * 200, rival.tolist())
    assert board.use is Advice.MODEL
    assert board.verdict.startswith("Use this model: ")
    assert "than the best simple baseline, simple, on n=200 test rows" in board.verdict


def test_no_difference_means_the_simpler_one() -> None:
    rng = np.random.default_rng(0)
    board = placed((rng.random(60) < 0.7).tolist(), (rng.random(60) < 0.7).tolist())
    assert board.use is Advice.SIMPLER
    assert board.verdict.startswith("No difference shown on n=60 test rows")
    assert "take the simpler one, simple" in board.verdict


def test_a_handful_of_rows_shows_nothing() -> None:
    """All five agree, and the bootstrap has no spread: still no sign test could tell them from chance."""
    board = placed([True] * 5, [False] * 5)
    assert board.model.value == 1
    assert board.use is Advice.SIMPLER
    assert "+100.0 points, 95 % +100.0 to +100.0; but fewer than 6 cases differ, which shows" in board.verdict
    assert placed([True] * 6, [False] * 6).use is Advice.MODEL


def test_rows_of_a_picture_count_once() -> None:
    model, rival = [True] * 40, [False] * 40
    assert placed(model, rival).use is Advice.MODEL
    assert placed(model, rival, np.repeat(np.arange(5), 8)).use is Advice.SIMPLER


def test_metrics_that_are_no_means_are_paired_too() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=80)
    rows = [LabelledText(str(place), float(value)) for place, value in enumerate(values)]
    model, simple = values + 3 * rng.normal(size=80), values + 0.1 * rng.normal(size=80)
    board = board_of(tiny_task(TextRegressionTask, rows), rows, model.tolist(), simple.tolist())
    assert board.use is Advice.BASELINE
    assert board.places[0].value == pytest.approx(np.corrcoef(values, simple)[0, 1])
    assert board.places[0].low is not None
    assert (board.places[0].gain_low or 0) > 0


def test_without_strong_baselines_it_is_open() -> None:
    model = Contender("this model", SystemKind.MODEL, 0.7)
    usual = Contender("usual class", SystemKind.CONSTANT, 0.2, None, None, -0.5, -0.6, -0.4, shown=True)
    use, sentence = verdict([model, usual], 100, "test", {"TF-IDF": "no scikit-learn"})
    assert use is Advice.OPEN
    for part in ("No strong simple baseline was run", "TF-IDF: no scikit-learn", "50.0 points better"):
        assert part in sentence


def test_scores_without_rows_have_no_interval() -> None:
    rows, labels = answers([True] * 10)
    task = tiny_task(TextClassificationTask, rows, LABELS)
    model = scored(task, {"test": rows}, {"test": [task.labels.certain((label,)) for label in labels]})
    older = BaselineResult({"test": {"accuracy": 0.3}}, {}, {})
    systems = [System("this model", SystemKind.MODEL, model), System("older", SystemKind.ABLATION, older)]
    board = leaderboard(task, "test", rows, systems, np.arange(10), {})
    last = board.places[-1]
    assert (last.name, last.low, last.gain_low, last.shown) == ("older", None, None, False)
    assert last.gain == pytest.approx(-0.7)


def test_what_is_no_better_than_chance_is_said() -> None:
    model = Contender("this model", SystemKind.MODEL, 0.1, 0.03, 0.3)
    pixels = Contender("pixels", SystemKind.STRONG, 0.15, 0.05, 0.36, 0.05, -0.1, 0.25)
    chance = Contender("chance", SystemKind.CHANCE, 0.125)
    _, sentence = verdict([pixels, chance, model], 20, "test", {})
    assert sentence.endswith("one, pixels; none of them is shown to be better than chance (0.125)")
    better = Contender("pixels", SystemKind.STRONG, 0.5, 0.3, 0.7, 0.4, 0.2, 0.6, shown=True)
    assert "chance" not in verdict([better, chance, model], 20, "test", {})[1]
