"""The official scorer's answers on generated inputs are recorded in golden/scorers/vqa.json."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.metrics.vqa import (
    ARTICLES,
    CONTRACTIONS,
    DIGITS,
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
    score = vqa_score(predicted, given_answers, types)
    assert 100 * score.overall == pytest.approx(RECORDED["overall"], abs=1e-8)
    by_type = {kind: 100 * value for kind, value in score.by_answer_type.items()}
    assert by_type == pytest.approx(RECORDED["by_answer_type"], abs=1e-8)


# ---------------------------------------------------------------- the published rules, one by one
@pytest.mark.parametrize(
    ("answer", "normalised"),
    [
        *(("Two dogs", "2 dogs"), ("none", "0"), ("ten", "10"), ("eleven", "eleven")),
        *(("a dog and the cat", "dog and cat"), ("An Apple", "apple"), ("the", "")),
        *(("dont know", "don't know"), ("its", "its"), ("it's", "it's")),
        *(("left/right", "left right"), ("left / right", "left right")),
        *(("t-shirt", "t shirt"), ("t- shirt", "t shirt"), ("1,000 t-shirts", "1000 tshirts")),
        *(("1,000", "1000"), ("red, blue", "red blue"), ("red,blue", "red blue")),
        *(("U.S.A.", "usa"), ("3.5", "3.5"), ("3.", "3"), ("no.5", "no.5")),
        *(("what?!", "what"), ("x\ny", "x y")),
    ],
)
def test_rules(answer: str, normalised: str) -> None:
    assert normalise_answer(answer) == normalised


@pytest.mark.parametrize("sign", PUNCTUATION)
def test_every_sign_becomes_a_space_or_vanishes(sign: str) -> None:
    assert {strip_punctuation(f"a{middle}b") for middle in (sign, f"{sign} ", f" {sign}")} == {"a b"}
    assert strip_punctuation(f"1,2{sign}b") == "12b"


def test_tables() -> None:
    assert len(PUNCTUATION) == 21
    assert DIGITS["none"] == DIGITS["zero"] == "0"
    assert len(DIGITS) == 12
    assert {"a", "an", "the"} == ARTICLES
    apostrophes = {short: word for short, word in CONTRACTIONS.items() if short != "somebody'd"}
    assert all(short.replace("'", "") == word.replace("'", "") for short, word in apostrophes.items())
    assert all(word.count("'") > short.count("'") for short, word in apostrophes.items())


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab 1,.-/'!?THEtheone", max_size=20))
def test_a_normalised_answer_has_single_spaces_and_no_articles(answer: str) -> None:
    words = normalise_answer(answer).split(" ")
    assert not ARTICLES & set(words)
    assert words == [""] or all(words)


# ---------------------------------------------------------------- leaving one person out
@pytest.mark.parametrize("agreeing", range(11))
def test_ten_ways_to_leave_one_person_out(agreeing: int) -> None:
    given_answers = ["blue"] * agreeing + [f"other{n}" for n in range(10 - agreeing)]
    left = [agreeing - 1] * agreeing + [agreeing] * (10 - agreeing)
    expected = sum(min(1, n / 3) for n in left) / 10
    assert answer_accuracy("blue", given_answers) == pytest.approx(expected)
    assert {0: 0, 1: 0.3, 2: 0.6, 3: 0.9}.get(agreeing, 1) == pytest.approx(expected)


def test_answers_of_people_who_agree_are_compared_as_they_are() -> None:
    assert answer_accuracy("t-shirt", ["t-shirt"] * 10) == 0  # the prediction became `t shirt`
    assert answer_accuracy("t-shirt", ["t-shirt"] * 9 + ["shirt"]) == 1


def test_order_of_people_and_questions_does_not_matter() -> None:
    rows = RECORDED["questions"]
    shuffled = random.Random(3).sample(rows, len(rows))
    scores = []
    for order in (rows, shuffled):
        types, given_answers, predicted, _ = zip(*order, strict=True)
        scores.append(vqa_score(predicted, [sorted(answers) for answers in given_answers], types))
    assert scores[0].overall == pytest.approx(scores[1].overall)
    assert scores[0].by_answer_type == pytest.approx(scores[1].by_answer_type)
