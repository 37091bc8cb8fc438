"""GLUE in miniature: the TSV folders of the official archive and the hub's Parquet files."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.official.pictures import sentence
from xfm.reproduce.read.glue import FORMATS, GlueTask

_HEADERS = {
    GlueTask.SST2: ("sentence", "label"),
    GlueTask.MRPC: ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
    GlueTask.QQP: ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
    GlueTask.STSB: (
        *("index", "genre", "filename", "year", "old_index", "source1", "source2"),
        *("sentence1", "sentence2", "score"),
    ),
    GlueTask.MNLI: (
        *("index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse"),
        *("sentence1_parse", "sentence2_parse", "sentence1", "sentence2", "label1", "gold_label"),
    ),
    GlueTask.QNLI: ("index", "question", "sentence", "label"),
    GlueTask.RTE: ("index", "sentence1", "sentence2", "label"),
    GlueTask.WNLI: ("index", "sentence1", "sentence2", "label"),
}
_COLA = ("source", "label", "mark", "sentence")
_NOT_IN_TESTS = {"label", "label1", "gold_label", "Quality", "is_duplicate", "score", "qid1", "qid2"}


def write_glue(root: Path, task: GlueTask, rows: int = 12) -> Path:
    """The task's folder with its train, dev and test files."""
    layout = FORMATS[task]
    folder = root / layout.folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(task.value)
    for file in ("train.tsv", *(file for _, file, _ in layout.scored)):
        columns = _HEADERS.get(task, _COLA)
        header = [] if task is GlueTask.COLA else ["\t".join(columns)]
        lines = ["\t".join(_cell(name, task, number, rng) for name in columns) for number in range(rows)]
        (folder / file).write_text("\n".join([*header, *lines]) + "\n")
    for _, file, _ in layout.hidden:
        columns = [name for name in _HEADERS.get(task, _COLA) if name not in _NOT_IN_TESTS]
        columns = ["index", *layout.columns] if task in (GlueTask.COLA, GlueTask.SST2) else columns
        columns = ["index" if name == "id" else name for name in columns]
        columns = ["index", *columns] if columns[0] != "index" else columns
        lines = ["\t".join(_cell(name, task, number, rng) for name in columns) for number in range(5)]
        (folder / file).write_text("\n".join(["\t".join(columns), *lines]) + "\n")
    return folder


def _cell(name: str, task: GlueTask, number: int, rng: random.Random) -> str:
    layout = FORMATS[task]
    if name == layout.label:
        if not layout.written:
            return f"{rng.uniform(0, 5):.3f}"
        return layout.written[number % len(layout.written)]
    if name in layout.columns:
        return sentence(rng).capitalize() + rng.choice(
            [".", '"', " ' !"]
        )  # quotes mean nothing in these files
    return str(number) if name in ("index", "id") else f"{name}-{number}"


def write_glue_parquet(root: Path, task: GlueTask, rows: int = 12) -> Path:
    """The task's folder as on the hub: class numbers with their names in the metadata, -1 in tests."""
    layout = FORMATS[task]
    folder = root / task.value
    rng = random.Random(task.value)
    count = len(layout.classes)
    for split in ("train", *(split for _, _, split in layout.scored)):
        labels = [number % count if count else rng.uniform(0, 5) for number in range(rows)]
        _write(folder / f"{split}-00000-of-00001.parquet", layout.hub_columns, labels, layout.classes, rng)
    for _, _, split in layout.hidden:
        _write(folder / f"{split}-00000-of-00001.parquet", layout.hub_columns, [-1] * 5, layout.classes, rng)
    return folder


def _write(
    path: Path, columns: Sequence[str], labels: Sequence[float], classes: Sequence[str], rng: random.Random
) -> None:
    cells: dict[str, Any] = {name: [sentence(rng) for _ in labels] for name in columns}
    cells |= {"label": list(labels) if classes else [float(v) for v in labels]}
    cells |= {"idx": list(range(len(labels)))}
    write_parquet(path, cells, {"label": classes})


def write_parquet(path: Path, cells: dict[str, Any], classes: dict[str, Sequence[str]]) -> Path:
    """A Parquet file with the names of its classes where the `datasets` library keeps them."""
    import pyarrow
    from pyarrow import parquet

    features = {
        name: {"names": list(names), "_type": "ClassLabel"} for name, names in classes.items() if names
    }
    table = pyarrow.table(cells).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
    return path
