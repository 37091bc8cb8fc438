"""Files for the servers of the benchmarks."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.official.glue import write_diagnostic, write_glue
from xfm.config.benchmark import Edition
from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.read.glue import GlueTask, read_glue
from xfm.evaluation.benchmarks.submissions import (
    caption_submission,
    glue_archive,
    glue_missing,
    glue_note,
    glue_submission,
    nlvr2_submission,
    vqa_submission,
)
from xfm.tasks.rows import Described, PicturePair, Question

PICTURE = Path("a.jpg")


QUESTIONS = [Question(PICTURE, "what?", "", "all", key=key) for key in (262144000, 5)]
DESCRIBED = [Described(PICTURE, ("x",), 7)]
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


EDITION = Edition.RECOMMENDED


def test_the_archive_is_made_once_all_evaluations_are_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted = {"CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI", "AX"}
    write_diagnostic(tmp_path)
    for task in GlueTask:
        assert glue_archive(out, EDITION) is None
        write_glue(tmp_path, task)
        folder = out / task.value / "FT" / EDITION
        for name, rows in read_glue(tmp_path, task).hidden.items():
            assert f"{task.value}/FT/recommended/{name}.tsv" in glue_missing(out, EDITION)
            assert f"{task.value}/FT/recommended/{name}.tsv" in glue_note(out, ["rte", "vqa"], EDITION)
            glue_submission(folder / f"{name}.tsv", task, [row.label for row in rows])
        assert any(
            name.startswith(f"{task.value}/") for name in glue_missing(out, EDITION)
        )  # it may not be whole
        (folder / "official.json").write_text("{}")
    assert glue_missing(out, EDITION) == []
    assert not list(out.glob("glue*"))
    assert glue_note(out, ["vqa"], EDITION) == ""
    assert "glue-recommended.zip is the file for the GLUE server" in glue_note(out, ["wnli"], EDITION)
    with zipfile.ZipFile(out / "glue-recommended.zip") as archive:
        assert sorted(archive.namelist()) == sorted(f"{name}.tsv" for name in wanted)
        for path in out.glob("*/FT/*/*.tsv"):
            assert archive.read(path.name) == path.read_bytes()
        answers = archive.read("AX.tsv").decode().splitlines()
    assert answers[0] == "index\tprediction"
    assert [line.split("\t")[0] for line in answers[1:]] == [str(number) for number in range(7)]
    assert {line.split("\t")[1] for line in answers[1:]} <= {"entailment", "neutral", "contradiction"}
    (out / "mnli" / "FT" / EDITION / "AX.tsv").unlink()
    assert glue_missing(out, EDITION) == ["mnli/FT/recommended/AX.tsv"]
