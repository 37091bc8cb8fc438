"""`bad.jsonl` of a pre-training: the records that were left out, written as they come."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from xfm.data.folders import FolderReport
from xfm.data.left_out import BAD_FILE, read_bad_rows
from xfm.data.schema import Batch
from xfm.errors import amount, printable
from xfm.training import distributed


class BadLog:
    """The file of one process of a run.

    Args:
        folder: of the run.
        process: this one; each has a file of its own.
        resume: whether the records of a run that was stopped stay in it.
    """

    def __init__(self, folder: Path, process: distributed.Process, resume: bool) -> None:
        self._path, self._process = folder / _name(process.rank), process
        self._resume = resume
        self._known: set[str] | None = None

    def watched(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches, of which every new bad record is written down first."""
        for batch in batches:
            for record in batch.skipped:
                self._write(str(record.origin), {"place": str(record.origin), "error": record.reason})
            yield batch

    def folder(self, report: FolderReport) -> None:
        """Write down what a folder of pictures holds besides them."""
        self._write(report.folder, report.plain())

    def _write(self, key: str, content: dict[str, object]) -> None:
        if self._known is None:  # not before the run's folder is known to be free
            self._known = set(read_bad_rows(self._path.parent, self._path.name)) if self._resume else set()
            if not self._resume:
                self._path.unlink(missing_ok=True)
        if key not in self._known:
            self._known.add(key)
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(json.dumps(content, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Remove what an earlier run left, where this one left out nothing or has fewer processes."""
        if self._known is None and not self._resume:
            self._path.unlink(missing_ok=True)
        if self._process.is_first and not self._resume:
            ours = {_name(rank) for rank in range(self._process.world)}
            for path in _files(self._path.parent):
                if path.name not in ours:
                    path.unlink(missing_ok=True)


def _name(rank: int) -> str:
    return BAD_FILE if rank == 0 else f"{Path(BAD_FILE).stem}-{rank}.jsonl"


def _files(folder: Path) -> list[Path]:
    others = re.compile(rf"{Path(BAD_FILE).stem}-(\d+)\.jsonl")
    found = {int(match[1]): path for path in folder.iterdir() if (match := others.fullmatch(path.name))}
    return [folder / BAD_FILE, *(found[rank] for rank in sorted(found))]


def bad_records(folder: Path) -> str:
    """How many records a run left out, in a sentence with the first of them; empty where it left out none."""
    kept = {file: rows for file in _files(folder) if (rows := read_bad_rows(file.parent, file.name))}
    found = {place: reason for rows in kept.values() for place, reason in rows.items()}
    if not found:
        return ""
    place, reason = next(iter(found.items()))
    were, files = amount(len(found), "record was", "records were"), " and ".join(map(str, kept))
    return printable(f"{were} left out: {place} ({reason}); all in {files}")
