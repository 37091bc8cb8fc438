"""Files for the servers of the benchmarks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.read.glue import GlueTask
from xfm.evaluation.benchmarks.scorers import (
    caption_submission,
    glue_submission,
    nlvr2_submission,
    vqa_submission,
)
from xfm.tasks.rows import ImageCaptions, PicturePair, Question

PICTURE = Path("a.jpg")


QUESTIONS = [Question(PICTURE, "what?", "", "all", key=key) for key in (262144000, 5)]
DESCRIBED = [ImageCaptions(PICTURE, ("x",), 7)]
PAIRS = [PicturePair((PICTURE, PICTURE), "x", True, "test1-0-1-0")]


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
def test_what_a_server_takes(tmp_path: Path, write, rows: list, given: list, content: object) -> None:
    written = write(tmp_path / "out" / "file", rows, given).read_text()
    assert (written if isinstance(content, str) else json.loads(written)) == content


@pytest.mark.parametrize(
    ("write", "rows", "named"),
    [
        (vqa_submission, QUESTIONS[:1] * 2, "an id of its own"),
        (caption_submission, [replace(DESCRIBED[0], key=None)], "needs an id"),
        (nlvr2_submission, [replace(PAIRS[0], key=None)], "needs an identifier"),
    ],
)
def test_rows_without_ids_of_their_own_are_refused(tmp_path: Path, write, rows: list, named: str) -> None:
    with pytest.raises(UserError, match=named):
        write(tmp_path / "file", rows, [True] * len(rows))


@pytest.mark.parametrize(
    ("task", "predictions", "cells"),
    [
        (GlueTask.COLA, ["acceptable", "unacceptable"], ["1", "0"]),
        (GlueTask.WNLI, ["entailment", "not_entailment"], ["1", "0"]),
        (GlueTask.RTE, ["entailment", "not_entailment"], ["entailment", "not_entailment"]),
        (GlueTask.MNLI, ["contradiction", "neutral"], ["contradiction", "neutral"]),
        (GlueTask.STSB, [5.2, -0.1, 2.34567], ["5.000", "0.000", "2.346"]),
    ],
)
def test_glue_cells(tmp_path: Path, task: GlueTask, predictions: list[str | float], cells: list[str]) -> None:
    lines = glue_submission(tmp_path / "CoLA.tsv", task, predictions).read_text().splitlines()
    assert lines == ["index\tprediction", *(f"{place}\t{cell}" for place, cell in enumerate(cells))]
