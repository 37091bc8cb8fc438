"""GLUE in miniature: the hub's Parquet files."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.official.pictures import sentence
from xfm.evaluation.benchmarks.read.glue import FORMATS, GlueTask


def write_diagnostic(root: Path, rows: int = 7) -> Path:
    """The diagnostic set."""
    rng = random.Random("diagnostic")
    cells: dict[str, Any] = {name: [sentence(rng) for _ in range(rows)] for name in ("premise", "hypothesis")}
    cells |= {"label": [-1] * rows, "idx": list(range(rows))}
    path = root / "ax" / "test-00000-of-00001.parquet"
    return write_parquet(path, cells, {"label": FORMATS[GlueTask.MNLI].classes})


def write_glue(root: Path, task: GlueTask, rows: int = 12) -> Path:
    """The task's folder as on the hub: class numbers with their names in the metadata, -1 in tests."""
    layout, folder, rng = FORMATS[task], root / task.value, random.Random(task.value)
    count = len(layout.classes)
    known = [number % count if count else rng.uniform(0, 5) for number in range(rows)]
    labels = dict.fromkeys(("train", *layout.scored), known)
    labels |= {split: [-1 if count else -1.0] * 5 for split in layout.unscored}
    for split, values in labels.items():
        cells: dict[str, Any] = {name: [sentence(rng) for _ in values] for name in layout.columns}
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
