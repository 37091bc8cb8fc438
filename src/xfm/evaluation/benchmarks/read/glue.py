"""GLUE's nine tasks and its diagnostic set (Wang et al., 2018), as TSV folders or the hub's Parquet files.

TSV folders are those of the official archive (`CoLA/train.tsv`, `MNLI/dev_matched.tsv`, ...), Parquet those
of `nyu-mll/glue` (`cola/train-00000-of-00001.parquet`, ...). Test sets have no published answers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError
from xfm.data.tables import TableRow
from xfm.evaluation.benchmarks.read.readers import (
    Corpus,
    chosen,
    need_parquet,
    parquet_files,
    parquet_rows,
    read_tsv,
    string,
)
from xfm.finetuning.row_filter import few
from xfm.tasks.rows import LabelledText


class GlueTask(StrEnum):
    """The tasks, as the hub names them."""

    COLA = "cola"
    SST2 = "sst2"
    MRPC = "mrpc"
    STSB = "stsb"
    QQP = "qqp"
    MNLI = "mnli"
    QNLI = "qnli"
    RTE = "rte"
    WNLI = "wnli"


@dataclass(frozen=True)
class GlueFormat:
    """Files of a GLUE task.

    Attributes:
        folder: in the official archive.
        columns, label: text and label columns of the TSV files.
        classes: in the hub's order; empty for a regression.
        hub: text columns of the Parquet files, where they differ.
        numbered: TSV files and submissions write classes as numbers.
        scored, unscored: splits (our name or that of the submission, TSV file, Parquet split).
        header: columns of TSV files without a header line (CoLA's).
    """

    folder: str
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    label: str = "label"
    hub: tuple[str, ...] = ()
    numbered: bool = True
    scored: tuple[tuple[str, str, str], ...] = (("dev", "dev.tsv", "validation"),)
    unscored: tuple[tuple[str, str, str], ...] = ()
    header: tuple[str, ...] | None = None

    @property
    def hub_columns(self) -> tuple[str, ...]:
        """Text columns of the Parquet files."""
        return self.hub or self.columns

    @property
    def written(self) -> tuple[str, ...]:
        """Classes as TSV files and submissions write them."""
        return tuple(map(str, range(len(self.classes)))) if self.numbered else self.classes

    @property
    def hidden(self) -> tuple[tuple[str, str, str], ...]:
        """Splits without answers."""
        return self.unscored or ((self.folder, "test.tsv", "test"),)


DIAGNOSTIC = "AX"
"""The diagnostic set as a split of MNLI, and its file for the server."""
_DIAGNOSTIC_FILES = ("AX/AX.tsv", "AX.tsv", "diagnostic/diagnostic.tsv", "diagnostic/AX.tsv")
_ONE, _TWO = ("sentence",), ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")

FORMATS = {
    GlueTask.COLA: GlueFormat(
        "CoLA", _ONE, ("unacceptable", "acceptable"), header=("source", "label", "mark", "sentence")
    ),
    GlueTask.SST2: GlueFormat("SST-2", _ONE, ("negative", "positive")),
    GlueTask.MRPC: GlueFormat(
        "MRPC", ("#1 String", "#2 String"), ("not_equivalent", "equivalent"), "Quality", hub=_TWO
    ),
    GlueTask.STSB: GlueFormat("STS-B", _TWO, (), "score"),
    GlueTask.QQP: GlueFormat(
        "QQP", ("question1", "question2"), ("not_duplicate", "duplicate"), "is_duplicate"
    ),
    GlueTask.MNLI: GlueFormat(
        "MNLI",
        _TWO,
        ("entailment", "neutral", "contradiction"),
        "gold_label",
        hub=("premise", "hypothesis"),
        numbered=False,
        scored=(
            ("matched", "dev_matched.tsv", "validation_matched"),
            ("mismatched", "dev_mismatched.tsv", "validation_mismatched"),
        ),
        unscored=(
            ("MNLI-m", "test_matched.tsv", "test_matched"),
            ("MNLI-mm", "test_mismatched.tsv", "test_mismatched"),
        ),
    ),
    GlueTask.QNLI: GlueFormat("QNLI", ("question", "sentence"), _ENTAILMENT, numbered=False),
    GlueTask.RTE: GlueFormat("RTE", _TWO, _ENTAILMENT, numbered=False),
    GlueTask.WNLI: GlueFormat("WNLI", _TWO, ("not_entailment", "entailment")),
}


def glue_folder(root: Path, task: GlueTask) -> Path | None:
    """The task's folder below `root`, by the archive's name or the hub's."""
    names = (FORMATS[task].folder, task.value, FORMATS[task].folder.lower())
    return next((root / name for name in names if (root / name).is_dir()), None)


def read_glue(root: Path, task: GlueTask) -> Corpus[LabelledText]:
    """A task of GLUE from its folder below `root`; the test files may be missing."""
    layout = FORMATS[task]
    folder = glue_folder(root, task)
    if folder is None:
        raise UserError(f"{root / layout.folder} does not exist; put GLUE's folder {layout.folder} there")
    corpus = (_read_hub if parquet_files(folder, "train") else _read_archive)(folder, layout)
    if task is not GlueTask.MNLI or not (rows := _read_diagnostic(root)):
        return corpus
    return replace(corpus, hidden={**corpus.hidden, DIAGNOSTIC: rows})


def _read_diagnostic(root: Path) -> list[LabelledText]:
    layout = FORMATS[GlueTask.MNLI]
    for name in _DIAGNOSTIC_FILES:
        if (root / name).is_file():
            return [_unlabelled(row, layout.columns, layout.classes) for row in read_tsv(root / name)]
    files = next((found for name in ("ax", "AX") if (found := parquet_files(root / name, "test"))), [])
    rows = (row for file in files for row in parquet_rows(file, layout.hub_columns))
    return [_unlabelled(row, layout.hub_columns, layout.classes) for row in rows]


def _read_archive(folder: Path, layout: GlueFormat) -> Corpus[LabelledText]:
    labels = dict(zip(layout.written, layout.classes, strict=True))
    # A few questions of QQP hold line breaks: as the official code does, what is left of them is skipped.
    short: list[str] | None = [] if layout.folder == "QQP" else None

    def scored(file: str) -> list[LabelledText]:
        rows = read_tsv(folder / file, layout.header, short)
        return [_labelled(row, layout.columns, layout.label, labels) for row in rows]

    def hidden(file: str) -> list[LabelledText]:
        return [_unlabelled(row, layout.columns, layout.classes) for row in read_tsv(folder / file)]

    corpus = Corpus(
        scored("train.tsv"),
        {name: scored(file) for name, file, _ in layout.scored},
        {name: hidden(file) for name, file, _ in layout.hidden if (folder / file).is_file()},
        layout.classes,
    )
    if not short:
        return corpus
    why = "lines with fewer cells than columns were skipped, as the official code does"
    return replace(corpus, notes={"skipped": f"{why}: {len(short):,} ({few(short)})"})


def _read_hub(folder: Path, layout: GlueFormat) -> Corpus[LabelledText]:
    texts = layout.hub_columns
    # Class numbers, or their names where the file has them.
    labels = {label: name for number, name in enumerate(layout.classes) for label in (number, name)}

    def rows(split: str, columns: Sequence[str]) -> Iterable[TableRow]:
        return (row for file in need_parquet(folder, split) for row in parquet_rows(file, columns))

    def scored(split: str) -> list[LabelledText]:
        return [_labelled(row, texts, "label", labels) for row in rows(split, (*texts, "label"))]

    return Corpus(
        scored("train"),
        {name: scored(split) for name, _, split in layout.scored},
        {
            name: [_unlabelled(row, texts, layout.classes) for row in rows(split, texts)]
            for name, _, split in layout.hidden
            if parquet_files(folder, split)
        },
        layout.classes,
    )


def _labelled(row: TableRow, columns: Sequence[str], label: str, labels: Mapping[Any, str]) -> LabelledText:
    first, *second = (string(row, column) for column in columns)
    value = chosen(row, label, labels) if labels else _score(row, label)
    return LabelledText(first, value, *second)


def _score(row: TableRow, label: str) -> float:
    try:
        value = float(string(row, label))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise row.error(label, "is not a number")
    return value


def _unlabelled(row: TableRow, columns: Sequence[str], classes: Sequence[str]) -> LabelledText:
    first, *second = (string(row, column) for column in columns)
    return LabelledText(first, classes[0] if classes else 0.0, *second)
