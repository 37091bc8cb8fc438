"""Files for the servers of the benchmarks."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.evaluation.benchmarks.read.glue import GlueTask
from xfm.evaluation.benchmarks.scorers import (
    caption_submission,
    consistency,
    given_answers,
    glue_submission,
    name_of,
    nlvr2_submission,
    score_answers,
    score_truth,
    vqa_submission,
)
from xfm.metrics.classification import ClassPrediction
from xfm.tasks.rows import ImageCaptions, LabelledText, Question

PICTURE = Path("a.jpg")


QUESTIONS = [Question(PICTURE, "what?", "", "all", key=key) for key in (262144000, 5)]
DESCRIBED = [ImageCaptions(PICTURE, ("x",), 7)]
PAIRS = [LabelledText("x", True, None, (PICTURE, PICTURE), "test1-0-1-0")]


@pytest.mark.parametrize(
    ("write", "rows", "given", "content"),
    [
        (
            *(vqa_submission, QUESTIONS, ["yes", "café"]),
            [{"question_id": 262144000, "answer": "yes"}, {"question_id": 5, "answer": "café"}],
        ),
        (caption_submission, DESCRIBED, ["a dog"], [{"image_id": 7, "caption": "a dog"}]),
        (nlvr2_submission, PAIRS, [False], "test1-0-1-0,False\n"),
    ],
)
def test_what_a_server_takes(write, rows: list, given: list, content: object) -> None:
    written = write(rows, given)
    assert (written if isinstance(content, str) else json.loads(written)) == content


@pytest.mark.parametrize(
    ("task", "predictions", "cells"),
    [
        (GlueTask.WNLI, ["entailment", "not_entailment"], ["1", "0"]),
        (GlueTask.RTE, ["entailment", "not_entailment"], ["entailment", "not_entailment"]),
        (GlueTask.STSB, [5.2, -0.1, 2.34567], ["5.000", "0.000", "2.346"]),
    ],
)
def test_glue_cells(task: GlueTask, predictions: list[str | float], cells: list[str]) -> None:
    lines = glue_submission(task, predictions).splitlines()
    assert lines == ["index\tprediction", *(f"{place}\t{cell}" for place, cell in enumerate(cells))]


def by_the_book(rows: list[tuple[str, bool]]) -> float:
    of_rows = [identifier.replace(f"-{identifier.split('-')[2]}-", "-@-", 1) for identifier, _ in rows]
    wrong = {sentence for sentence, (_, ok) in zip(of_rows, rows, strict=True) if not ok}
    return 1 - len(wrong) / len(set(of_rows))


@settings(max_examples=100)
@given(st.integers(0, 2**16))
def test_a_sentence_counts_where_all_its_pictures_are_right(seed: int) -> None:
    rng = random.Random(seed)
    rows = [
        (f"dev-{rng.randrange(100, 104)}-{pair}-{rng.randrange(2)}", rng.random() < 0.8)
        for pair in range(rng.randint(1, 12))
    ]
    assert consistency(*map(list, zip(*rows, strict=True))) == pytest.approx(by_the_book(rows))


def test_truth_and_consistency() -> None:
    rows = [LabelledText("x", bool(n % 2), None, (PICTURE, PICTURE), f"dev-1-{n}-0") for n in range(4)]
    right = [ClassPrediction(str(row.label).lower(), (0.5, 0.5)) for row in rows]
    assert score_truth(rows, right) == {"accuracy": 1.0, "consistency": 1.0}
    assert score_truth(rows, [True, True, True, True]) == {"accuracy": 0.5, "consistency": 0.0}
    assert name_of(True) == "true"


def test_votes_give_the_answers_of_ten_people_back() -> None:
    given = ["blue"] * 4 + ["dark blue"] * 5 + ["navy"]
    votes = tuple((answer, given.count(answer) / 10) for answer in dict.fromkeys(given))
    row = Question(PICTURE, "what?", "dark blue", "other", votes, 1)
    assert sorted(given_answers(row)) == sorted(given)
    assert score_answers([row], ["navy"]) == {"accuracy": 0.3, "accuracy_other": 0.3}
    assert score_answers([row], ["Blue"]) == {"accuracy": 1.0, "accuracy_other": 1.0}
