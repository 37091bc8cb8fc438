"""GLUE from the hub's files."""

from pathlib import Path

import pytest

from tests.failing import sentence_of
from tests.official.glue import write_diagnostic, write_glue, write_parquet
from xfm.evaluation.benchmarks.read.glue import FORMATS, GlueTask, read_glue

pytest.importorskip("pyarrow")


@pytest.mark.parametrize("task", [*GlueTask])
def test_every_task_is_read(tmp_path: Path, task: GlueTask) -> None:
    write_glue(tmp_path, task)
    corpus, layout = read_glue(tmp_path, task), FORMATS[task]
    assert len(corpus.train) == 12
    assert [*corpus.scored] == [*layout.scored.values()]
    assert [*corpus.hidden] == [*layout.unscored.values()]
    assert corpus.classes == layout.classes
    rows = [*corpus.train, *(row for rows in corpus.scored.values() for row in rows)]
    assert all((row.second is not None) == (len(layout.columns) == 2) for row in rows)
    if layout.classes:
        assert {row.label for row in rows} == set(layout.classes)
    else:
        assert all(isinstance(row.label, float) and 0 <= row.label <= 5 for row in rows)
    assert all(len(rows) == 5 for rows in corpus.hidden.values())


def test_labels_stand_beside_their_texts(tmp_path: Path) -> None:
    for split in ("train", "validation_matched", "validation_mismatched"):
        cells = {"premise": ['"A dog'], "hypothesis": ['It "barks".'], "label": ["contradiction"]}
        write_parquet(tmp_path / "mnli" / f"{split}.parquet", cells, {})
    (row,) = (corpus := read_glue(tmp_path, GlueTask.MNLI)).train
    assert (row.text, row.second, row.label) == ('"A dog', 'It "barks".', "contradiction")
    assert not corpus.hidden
    assert corpus.valid is corpus.scored["matched"]


def test_the_diagnostic_set_is_a_split_of_mnli(tmp_path: Path) -> None:
    write_glue(tmp_path, GlueTask.MNLI)
    write_glue(tmp_path, GlueTask.RTE)
    path = write_diagnostic(tmp_path)
    rows = read_glue(tmp_path, GlueTask.MNLI).hidden["AX"]
    assert len(rows) == 7
    assert all(row.text and row.second for row in rows)
    assert "AX" not in read_glue(tmp_path, GlueTask.RTE).hidden
    path.write_bytes(path.read_bytes()[:-9])
    assert "\n" not in (sentence_of(read_glue, tmp_path, GlueTask.MNLI) or "")
