"""The official scorer's answers on generated inputs are recorded in golden/scorers/vqa.json."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.metrics.vqa import (
    ARTICLES,
    PUNCTUATION,
    answer_accuracy,
    normalise_answer,
    strip_punctuation,
    vqa_score,
)

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "scorers" / "vqa.json").read_text())


def test_700_answers_are_normalised_as_the_official_scorer_does() -> None:
    assert len(RECORDED["normalised"]) == 700
    recorded = dict(RECORDED["normalised"])
    assert {text: normalise_answer(text) for text in recorded} == recorded


def test_300_questions_are_scored_as_the_official_scorer_does() -> None:
    rows = RECORDED["questions"]
    assert len(rows) == 300
    for _, given_answers, predicted, percent in rows:
        assert 100 * answer_accuracy(predicted, given_answers) == pytest.approx(percent, abs=1e-8)
    types, given_answers, predicted, _ = zip(*rows, strict=True)
    overall, found = vqa_score(predicted, given_answers, types)
    assert 100 * overall == pytest.approx(RECORDED["overall"], abs=1e-8)
    by_type = {kind: 100 * value for kind, value in found.items()}
    assert by_type == pytest.approx(RECORDED["by_answer_type"], abs=1e-8)


@pytest.mark.parametrize("sign", PUNCTUATION[::5])
def test_every_sign_becomes_a_space_or_vanishes(sign: str) -> None:
    assert {strip_punctuation(f"a{middle}b") for middle in (sign, f"{sign} ", f" {sign}")} == {"a b"}
    assert strip_punctuation(f"1,2{sign}b") == "12b"


@settings(max_examples=300)
@given(st.text(alphabet="ab 1,.-/'!?THEtheone", max_size=20))
def test_a_normalised_answer_has_single_spaces_and_no_articles(answer: str) -> None:
    words = normalise_answer(answer).split(" ")
    assert not ARTICLES & set(words)
    assert words == [""] or all(words)
