"""GLUE from both of its layouts."""

from pathlib import Path

import pytest

from tests.failing import sentence_of
from tests.official.glue import write_diagnostic, write_glue, write_glue_parquet
from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.read.glue import FORMATS, GlueTask, read_glue

ALL = list(GlueTask)


@pytest.mark.parametrize("task", ALL)
@pytest.mark.parametrize("write", [write_glue, write_glue_parquet])
def test_every_task_is_read_from_both_layouts(tmp_path: Path, task: GlueTask, write) -> None:
    if write is write_glue_parquet:
        pytest.importorskip("pyarrow")
    write(tmp_path, task)
    corpus, layout = read_glue(tmp_path, task), FORMATS[task]
    assert len(corpus.train) == 12
    assert list(corpus.scored) == [name for name, _, _ in layout.scored]
    assert list(corpus.hidden) == [name for name, _, _ in layout.hidden]
    assert corpus.classes == layout.classes
    rows = [*corpus.train, *(row for rows in corpus.scored.values() for row in rows)]
    assert all((row.second is not None) == (len(layout.columns) == 2) for row in rows)
    if layout.classes:
        assert {row.label for row in rows} == set(layout.classes)
    else:
        assert all(isinstance(row.label, float) and 0 <= row.label <= 5 for row in rows)
    assert all(len(rows) == 5 for rows in corpus.hidden.values())


def test_labels_stand_beside_their_texts(tmp_path: Path) -> None:
    folder = tmp_path / "MNLI"
    folder.mkdir()
    header = "index\tsentence1\tsentence2\tlabel1\tgold_label\n"
    (folder / "train.tsv").write_text(header + '0\t"A dog\tIt "barks".\tneutral\tcontradiction\r\n')
    for name in ("dev_matched", "dev_mismatched"):
        (folder / f"{name}.tsv").write_text(header + "7\tx\ty\tneutral\tentailment\n")
    (row,) = (corpus := read_glue(tmp_path, GlueTask.MNLI)).train
    assert (row.text, row.second, row.label) == ('"A dog', 'It "barks".', "contradiction")
    assert not corpus.hidden
    assert corpus.valid is corpus.scored["matched"]


@pytest.mark.parametrize(
    "place",
    ["AX/AX.tsv", "ax/test-00000-of-00001.parquet"],
)
def test_the_diagnostic_set_is_a_split_of_mnli(tmp_path: Path, place: str) -> None:
    if place.endswith("parquet"):
        pytest.importorskip("pyarrow")
    write_glue(tmp_path, GlueTask.MNLI)
    write_glue(tmp_path, GlueTask.RTE)
    path = write_diagnostic(tmp_path, place)
    rows = read_glue(tmp_path, GlueTask.MNLI).hidden["AX"]
    assert len(rows) == 7
    assert all(row.text and row.second for row in rows)
    assert "AX" not in read_glue(tmp_path, GlueTask.RTE).hidden
    path.write_bytes(path.read_bytes()[:-9])
    assert "\n" not in (sentence_of(read_glue, tmp_path, GlueTask.MNLI) or "")


def test_cola_has_no_header_except_in_its_test_file(tmp_path: Path) -> None:
    write_glue(tmp_path, GlueTask.COLA)
    (tmp_path / "CoLA" / "train.tsv").write_text("gj04\t1\t\tThe dog ran.\ngj04\t0\t*\tDog the ran.\n")
    rows = read_glue(tmp_path, GlueTask.COLA).train
    assert [(row.text, row.label) for row in rows] == [
        ("The dog ran.", "acceptable"),
        ("Dog the ran.", "unacceptable"),
    ]


def test_pieces_of_broken_questions_are_skipped_in_qqp_alone(tmp_path: Path) -> None:
    for task in (GlueTask.QQP, GlueTask.RTE):
        path = write_glue(tmp_path, task) / "train.tsv"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[:3], "half a question\n", *lines[3:]]) + "\n")
    corpus = read_glue(tmp_path, GlueTask.QQP)
    assert len(corpus.train) == 12
    assert corpus.notes["skipped"].endswith(f": 1 ({tmp_path / 'QQP' / 'train.tsv'}:4)")
    with pytest.raises(UserError, match=r"RTE/train.tsv:4: 1 cells for 4 columns"):
        read_glue(tmp_path, GlueTask.RTE)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("RTE/train.tsv", "not_entailment", "maybe", r'train.tsv:\d+: the column "label" is \'maybe\''),
        ("MNLI/dev_mismatched.tsv", None, None, r"dev_mismatched.tsv: cannot read the file"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, file: str, old: str | None, new: str | None, message: str
) -> None:
    task = next(task for task, layout in FORMATS.items() if layout.folder == file.split("/")[0])
    write_glue(tmp_path, task)
    path = tmp_path / file
    if new is None:
        path.unlink()
    else:
        path.write_text(path.read_text().replace(old, new) if old else path.read_text() + new + "\n")
    with pytest.raises(UserError, match=message):
        read_glue(tmp_path, task)
