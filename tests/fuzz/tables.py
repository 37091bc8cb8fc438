"""Readers of tables and JSON lines: as records, as rows, with the fields of tasks, as texts of a corpus."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.corpora.miniature import jpeg, write
from tests.fuzz.annotations import read_corpus
from tests.fuzz.binaries import change_parquet
from tests.fuzz.changes import Change, change_json, change_json_lines, change_table, change_text
from tests.fuzz.shards import SIZE, read_both_kinds
from tests.fuzz.target import Family, Target
from xfm.config.corpora import CorpusName, DoctorConfig
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError
from xfm.corpora.doctor.records import TableData
from xfm.data.tables import ColumnMap, open_table, read_table
from xfm.tasks.rows import CellMeaning

CAPTIONS = ("a red square", "two birds, at a lake", 'she said "yes"')
ROWS: list[dict[str, Any]] = [
    {
        "image": "a.jpg", "caption": text, "text": text, "text_pair": "another",
        "question": f"what is {number}?", "answer": str(number), "label": f"class {number}",
        "box": [1, 2, 8, 9], "left": "a.jpg", "right": "a.jpg",
        "anchor": text, "positive": "near", "negative": ["far", "away"],
    }
    for number, text in enumerate(CAPTIONS)
]  # fmt: skip
"""With the fields of every task."""
_REGION = {"phrase": "it", "box": [1, 2, 8, 9]}
RECORDS = [
    {"image": "a.jpg", "captions": ["one", "two"], "text": "plain", "regions": [_REGION]},
    {"image": "a.jpg", "caption": "three", "text": "words"},
]


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _delimited(rows: list[dict[str, Any]], mark: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows(
        [cell if isinstance(cell, str) else json.dumps(cell) for cell in row.values()] for row in rows
    )
    return out.getvalue().encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    from pyarrow import BufferOutputStream
    from pyarrow import Table as ArrowTable
    from pyarrow.parquet import write_table

    out = BufferOutputStream()
    inner = [
        {**row, "image": {"bytes": jpeg(place, SIZE), "path": "a.jpg"}} for place, row in enumerate(rows)
    ]
    write_table(ArrowTable.from_pylist(inner), out, row_group_size=2)
    return out.getvalue().to_pybytes()


def _put(folder: Path, file: str, content: Callable[[], bytes]) -> None:
    write(folder / "a.jpg", jpeg(1, SIZE))
    write(folder / file, content())


def read_of_tasks(folder: Path, file: str, tasks: Sequence[str]) -> None:
    """The rows as they lie there, and with the fields of tasks, in both cases as far as they go."""
    refused = []
    for row in open_table(folder / file).rows(frozenset(ROWS[0])):
        assert row.flaw is None or row.flaw
    for spec in map(task_spec, tasks):
        try:
            rows = read_table(folder / file, spec.fields, ColumnMap(), folder / "stored")
        except UserError as error:
            refused.append(error)
            continue
        for row in rows:
            with suppress(UserError):
                spec.task_class().from_row(row, CellMeaning())
    if refused:
        raise refused[0]


def read_records(folder: Path, file: str) -> None:
    """As `xfm doctor` does."""
    for _ in TableData(str(folder / file), folder / "pictures", DoctorConfig(), ColumnMap(), None).parts():
        pass


TASKS = ("vqa", "grounding", "reasoning", "text-classification", "sentence-similarity")
"""Among them are cells of every kind."""


def _table(
    file: str, content: Callable[[], bytes], change: Change, tasks: int = 2, weight: float = 1.0
) -> tuple[Target, ...]:
    kind, given = file.partition(".")[2], (partial(_put, file=file, content=content), file, change)
    read, doctor = partial(read_of_tasks, file=file, tasks=TASKS[:tasks]), partial(read_records, file=file)
    return (
        Target(Family.TABLES, f"tasks-{kind}", *given, read, weight),
        Target(Family.TABLES, f"doctor-{kind}", *given, doctor, weight / 2),
    )


def _texts(file: str, content: bytes, change: Change) -> Target:
    read = partial(read_corpus, corpus=CorpusName.C4, source="texts")
    prepare = partial(_put, file=f"texts/{file}", content=lambda: content)
    return Target(Family.TABLES, f"texts-{file.partition('.')[2]}", prepare, f"texts/{file}", change, read)


_RECORDED = (partial(_put, file="a.jsonl", content=lambda: _lines(RECORDS)), "a.jsonl", change_json_lines)
TARGETS = (
    Target(Family.TABLES, "records-jsonl", *_RECORDED, read_both_kinds, 4),
    *_table("a.jsonl", lambda: _lines(ROWS), change_json_lines, len(TASKS), 3),
    *_table("a.json", lambda: json.dumps(ROWS).encode(), change_json),
    *_table("a.csv", lambda: _delimited(ROWS), change_table),
    *_table("a.tsv", lambda: _delimited(ROWS, "\t"), change_table),
    *_table("a.parquet", lambda: _parquet(ROWS), change_parquet, 1),
    _texts("a.jsonl", _lines(ROWS), change_json_lines),
    _texts("a.json", json.dumps(ROWS).encode(), change_json),
    _texts("a.txt", "\n".join(CAPTIONS).encode(), change_text),
    Target(Family.TABLES, "captions-jsonl", *_RECORDED,
        partial(read_corpus, corpus=CorpusName.TABLE, source="a.jsonl"), 2),
)  # fmt: skip
