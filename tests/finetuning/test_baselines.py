"""Strong simple baselines, searches without a neural network, and which of all models to use."""

import random
import re
from collections.abc import Iterator, Sequence
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from tests.evaluation.tiny import draw, tiny_pretrained, tiny_task
from tests.finetuning.conftest import SHORT, on_table, text_table
from tests.reports.written import page_of
from xfm.finetuning.baselines.features import Material
from xfm.finetuning.baselines.strong import K1, PROBE, B, bm25_scores, scored, strong_baselines
from xfm.finetuning.leaderboard import (
    Advice,
    Leaderboard,
    SystemKind,
    leaderboard,
)
from xfm.tasks.image_classification import ImageClassificationTask
from xfm.tasks.rows import Labelled, LabelledText, MatchedTexts
from xfm.tasks.sentence_similarity import TextSearch
from xfm.tasks.text_classification import TextClassificationTask, TextRegressionTask

KINDS = {
    "games": "play levels enemies arcade puzzle board",
    "sound": "audio mixer synthesizer midi track plugin",
    "web": "http server browser page proxy session",
}


def packages(rows: int = 240) -> Iterator[str]:
    """Short descriptions of three kinds of packages; every word is of one kind, between others of none."""
    rng = random.Random(0)
    for place in range(rows):
        kind = [*KINDS][place % 3]
        words = rng.sample(KINDS[kind].split(), 2) + rng.sample(["tool", "for", "the", "small", "new"], 3)
        rng.shuffle(words)
        yield f"{' '.join(words)} {place},{kind}"


def test_an_untrained_model_loses_to_tf_idf_and_everything_says_so(model: Path, tmp_path: Path) -> None:
    done = on_table(model, text_table(tmp_path, packages()), tmp_path / "out")
    board = done.leaderboards["test"]
    assert (board.use, board.places[0].name) == (Advice.BASELINE, "TF-IDF + logistic regression")
    assert done.verdict.startswith("Use TF-IDF + logistic regression: ")
    assert "chosen on the validation rows" in board.places[0].note
    score = done.scores["text-classification/test/accuracy"]
    assert score.baseline == board.places[0].value > 0.9
    page = page_of(tmp_path / "out")
    assert done.verdict in page
    assert "C = " in page


def text_material(rows: list[LabelledText]) -> Material:
    task = tiny_task(TextClassificationTask, rows, ("a", "b"))
    return Material(task, tiny_pretrained(), task.pictures, rows, rows[:8], {"test": rows[:10]})


def test_a_baseline_that_fails_is_named_with_the_reason() -> None:
    made, missing = strong_baselines(text_material([LabelledText("", "ab"[n % 2]) for n in range(40)]), False)
    assert set(made) == {PROBE}
    assert "empty vocabulary" in missing["TF-IDF + logistic regression"]


def picture_material(tmp_path: Path) -> Material:
    rows = []
    for place in range(150):
        path = tmp_path / f"{place}.png"
        draw("red" if place % 2 else "blue", "green", jitter=place).save(path)
        rows.append(Labelled(path, "red" if place % 2 else "blue"))
    task, tests = tiny_task(ImageClassificationTask, rows, ("blue", "red")), {"test": rows[:20]}
    return Material(task, tiny_pretrained(), task.pictures, rows[40:], rows[20:40], tests)


def test_pictures_are_encoded_once_and_told_apart(tmp_path: Path) -> None:
    own = picture_material(tmp_path)
    made, missing = strong_baselines(own, False)
    assert missing == {}
    assert set(made) == {
        "linear probe of the frozen features",
        "pixels + logistic regression",
    }
    assert len(own.seen.places) == 150
    assert made["pixels + logistic regression"].metrics["test"]["accuracy"] == 1.0
    assert not own.pretrained.model.training


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


def board_of(task, rows, model, rival, groups=None):
    """The board of two systems that guess so."""
    named = (("this model", SystemKind.MODEL, model), ("simple", SystemKind.STRONG, rival))
    systems = [(name, sort, scored(task, {"test": rows}, {"test": guesses})) for name, sort, guesses in named]
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


WORDS = st.lists(st.sampled_from(["parcel", "lamp", "Oslo", "the", "is", "!"]), min_size=1, max_size=7).map(
    " ".join
)


def formula(query: str, texts: Sequence[str]) -> list[float]:
    """BM25 as it is written down, text by text and word by word."""
    said = [re.findall(r"\w+", text.lower()) for text in texts]
    mean = sum(map(len, said)) / len(said)
    found = []
    for words in said:
        score = 0.0
        for word in re.findall(r"\w+", query.lower()):
            having = sum(word in other for other in said)
            repeats = words.count(word)
            if repeats:
                weight = log(1 + (len(said) - having + 0.5) / (having + 0.5))
                score += weight * repeats / (repeats + K1 * (1 - B + B * len(words) / mean))
        found.append(score)
    return found


@given(
    st.lists(
        st.builds(MatchedTexts, WORDS, WORDS.filter(lambda text: re.search(r"\w", text))),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=60)
def test_bm25_is_the_formula(rows: list[MatchedTexts]) -> None:
    search = TextSearch.of(rows)
    found = bm25_scores(search)(slice(0, len(rows)))
    expected = [formula(anchor, search.candidates) for anchor in search.anchors]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_run_stands_beside_them(model: Path, tmp_path: Path) -> None:
    """The negatives of a split are candidates of all of its rows."""
    lines = ["anchor,positive,negative"]
    lines += [f"question {n} about w{n},answer {n} with w{n},another {n}" for n in range(40)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    done = on_table(model, tmp_path / "pairs.csv", tmp_path / "out", SHORT, "sentence-similarity")
    rows = len(done.predictions["test"])
    board = done.leaderboards["test"]
    assert {place.name for place in board.places} >= {"TF-IDF", "BM25", "the model before fine-tuning"}
    score = done.scores["sentence-similarity/test/r1"]
    assert (score.n, score.chance) == (rows, pytest.approx(1 / (2 * rows)))
    assert score.baseline == 1.0
