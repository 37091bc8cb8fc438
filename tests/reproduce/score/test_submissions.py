import json
import zipfile
from pathlib import Path

import pytest

from tests.official.glue import write_glue
from xfm.errors import UserError
from xfm.reproduce.read.glue import FORMATS, GlueTask, read_glue
from xfm.reproduce.score.submissions import (
    caption_submission,
    glue_archive,
    glue_file,
    nlvr2_submission,
    vqa_submission,
    write_glue_files,
)
from xfm.tasks.rows import Described, PicturePair, Question

PICTURE = Path("a.jpg")


def test_vqa(tmp_path: Path) -> None:
    rows = [Question(PICTURE, "what?", "", "all", key=key) for key in (262144000, 5)]
    vqa_submission(tmp_path / "out" / "vqa.json", rows, ["yes", "café"])
    assert json.loads((tmp_path / "out" / "vqa.json").read_text()) == [
        {"question_id": 262144000, "answer": "yes"},
        {"question_id": 5, "answer": "café"},
    ]
    with pytest.raises(UserError, match="an id of its own"):
        vqa_submission(tmp_path / "vqa.json", [rows[0], rows[0]], ["yes", "no"])


def test_captions_and_nlvr2(tmp_path: Path) -> None:
    caption_submission(tmp_path / "captions.json", [Described(PICTURE, ("x",), 7)], ["a dog"])
    assert json.loads((tmp_path / "captions.json").read_text()) == [{"image_id": 7, "caption": "a dog"}]
    row = PicturePair((PICTURE, PICTURE), "x", True, "test1-0-1-0")
    nlvr2_submission(tmp_path / "nlvr2.csv", [row], [False])
    assert (tmp_path / "nlvr2.csv").read_text() == "test1-0-1-0,False\n"
    with pytest.raises(UserError, match="needs an identifier"):
        nlvr2_submission(tmp_path / "nlvr2.csv", [PicturePair((PICTURE, PICTURE), "x", True)], [False])


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
def test_glue_cells(task: GlueTask, predictions: list[str | float], cells: list[str]) -> None:
    lines = glue_file(task, predictions).splitlines()
    assert lines == ["index\tprediction", *(f"{place}\t{cell}" for place, cell in enumerate(cells))]


def test_the_archive_is_made_once_all_files_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for task in GlueTask:
        assert glue_archive(folder) is None
        write_glue(tmp_path, task)
        hidden = read_glue(tmp_path, task).hidden
        write_glue_files(folder, task, {name: [row.label for row in rows] for name, rows in hidden.items()})
    assert glue_archive(folder) is None  # the diagnostic set is missing
    (folder / "AX.tsv").write_text("index\tprediction\n0\tentailment\n")
    archive = glue_archive(folder)
    assert archive is not None
    names = set(zipfile.ZipFile(archive).namelist())
    assert names == {f"{name}.tsv" for layout in FORMATS.values() for name, _, _ in layout.hidden} | {
        "AX.tsv"
    }
    assert {"MNLI-m.tsv", "MNLI-mm.tsv", "SST-2.tsv", "STS-B.tsv"} <= names
