"""GLUE in miniature: the TSV folders of the official archive and the hub's Parquet files."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.official.pictures import sentence
from xfm.evaluation.benchmarks.read.glue import FORMATS, GlueTask

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
        written = layout.written
        return written[number % len(written)] if written else f"{rng.uniform(0, 5):.3f}"
    if name in layout.columns:  # quotes mean nothing in these files
        return sentence(rng).capitalize() + rng.choice([".", '"', " ' !"])
    return str(number) if name in ("index", "id") else f"{name}-{number}"


def write_diagnostic(root: Path, place: str = "diagnostic/diagnostic.tsv", rows: int = 7) -> Path:
    """The diagnostic set, as the official archive or the hub has it."""
    rng, path = random.Random("diagnostic"), root / place
    texts = [[sentence(rng), sentence(rng)] for _ in range(rows)]
    if path.suffix == ".parquet":
        columns = dict(zip(("premise", "hypothesis"), map(list, zip(*texts, strict=True)), strict=True))
        cells = {**columns, "label": [-1] * rows, "idx": list(range(rows))}
        return write_parquet(path, cells, {"label": FORMATS[GlueTask.MNLI].classes})
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join([str(number), *pair]) for number, pair in enumerate(texts)]
    path.write_text("\n".join(["index\tsentence1\tsentence2", *lines]) + "\n")
    return path


def write_glue_parquet(root: Path, task: GlueTask, rows: int = 12) -> Path:
    """The task's folder as on the hub: class numbers with their names in the metadata, -1 in tests."""
    layout, folder, rng = FORMATS[task], root / task.value, random.Random(task.value)
    count = len(layout.classes)
    known = [number % count if count else rng.uniform(0, 5) for number in range(rows)]
    labels = dict.fromkeys(("train", *(split for _, _, split in layout.scored)), known)
    labels |= {split: [-1 if count else -1.0] * 5 for _, _, split in layout.hidden}
    for split, values in labels.items():
        cells: dict[str, Any] = {name: [sentence(rng) for _ in values] for name in layout.hub_columns}
        cells |= {"label": values, "idx": list(range(len(values)))}
        write_parquet(folder / f"{split}-00000-of-00001.parquet", cells, {"label": layout.classes})
    return folder


def write_parquet(path: Path, cells: dict[str, Any], classes: dict[str, Sequence[str]]) -> Path:
    """A Parquet file with the names of its classes where the `datasets` library keeps them."""
    import pyarrow
    from pyarrow import parquet

    labels = {name: {"names": names, "_type": "ClassLabel"} for name, names in classes.items() if names}
    noted = {"huggingface": json.dumps({"info": {"features": labels}})}
    table = pyarrow.table(cells).replace_schema_metadata(noted)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
    return path
