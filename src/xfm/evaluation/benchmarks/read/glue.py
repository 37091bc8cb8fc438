"""GLUE's nine tasks and its diagnostic set (Wang et al., 2018), as the hub's Parquet files (`nyu-mll/glue`).
A task's folder is `cola/` and the like, the diagnostic set's `ax/`. Test sets have no published answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from xfm.data.tables import TableRow
from xfm.evaluation.benchmarks.read import readers
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
    """Files of a GLUE task: its `name` in the official archive, columns of the texts, and classes in the
    hub's order (none for a regression), which submissions write as numbers if `numbered`. `scored` and
    `hidden` are names of splits with and without answers (ours or that of the submission) by those of the
    files."""

    name: str
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    numbered: bool = True
    scored: Mapping[str, str] = field(default_factory=lambda: {"validation": "dev"})
    hidden: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def unscored(self) -> Mapping[str, str]:
        """Splits without answers."""
        return self.hidden or {"test": self.name}


DIAGNOSTIC = "AX"
"""The diagnostic set as a split of MNLI, and its file for the server."""
_ONE, _TWO = ("sentence",), ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")

FORMATS = {
    GlueTask.COLA: GlueFormat("CoLA", _ONE, ("unacceptable", "acceptable")),
    GlueTask.SST2: GlueFormat("SST-2", _ONE, ("negative", "positive")),
    GlueTask.MRPC: GlueFormat("MRPC", _TWO, ("not_equivalent", "equivalent")),
    GlueTask.STSB: GlueFormat("STS-B", _TWO, ()),
    GlueTask.QQP: GlueFormat("QQP", ("question1", "question2"), ("not_duplicate", "duplicate")),
    GlueTask.MNLI: GlueFormat(
        "MNLI",
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        numbered=False,
        scored={"validation_matched": "matched", "validation_mismatched": "mismatched"},
        hidden={"test_matched": "MNLI-m", "test_mismatched": "MNLI-mm"},
    ),
    GlueTask.QNLI: GlueFormat("QNLI", ("question", "sentence"), _ENTAILMENT, numbered=False),
    GlueTask.RTE: GlueFormat("RTE", _TWO, _ENTAILMENT, numbered=False),
    GlueTask.WNLI: GlueFormat("WNLI", _TWO, ("not_entailment", "entailment")),
}


def read_glue(root: Path, task: GlueTask) -> readers.Corpus[LabelledText]:
    """A task of GLUE from its folder below `root`; the test files may be missing."""
    layout, folder = FORMATS[task], root / task.value
    # Class numbers, or their names where the file has them.
    labels = {label: name for number, name in enumerate(layout.classes) for label in (number, name)}

    def scored(split: str) -> list[LabelledText]:
        rows = readers.parquet_rows(readers.need_parquet(folder, split), (*layout.columns, "label"))
        said = ((row, readers.chosen(row, "label", labels) if labels else row.value("label")) for row in rows)
        return [_row(row, layout.columns, label) for row, label in said]

    def hidden(folder: Path, split: str) -> list[LabelledText]:
        rows = readers.parquet_rows(readers.parquet_files(folder, split), layout.columns)
        return [_row(row, layout.columns, layout.classes[0] if layout.classes else 0.0) for row in rows]

    without = {name: hidden(folder, split) for split, name in layout.unscored.items()}
    if task is GlueTask.MNLI:
        without[DIAGNOSTIC] = hidden(root / "ax", "test")
    return readers.Corpus(
        scored("train"),
        {name: scored(split) for split, name in layout.scored.items()},
        {name: rows for name, rows in without.items() if rows},
        layout.classes,
    )


def _row(row: TableRow, columns: Sequence[str], label: str | float) -> LabelledText:
    texts = [readers.string(row, column) for column in columns]
    return LabelledText(texts[0], label, texts[1] if len(texts) > 1 else None)
