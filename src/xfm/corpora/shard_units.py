"""The writing of shards, a unit of work each: a piece of the corpus becomes a tar and a marker beside it."""

import json
import os
import socket
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xfm.corpora.judging import BAD, Judge, Judgement, counted
from xfm.corpora.kept import require_kept
from xfm.corpora.looking import DROPPED, REASONS, dropped_rows
from xfm.corpora.plan import PreparationPlan
from xfm.corpora.preparation import Preparation
from xfm.corpora.source_record import SourceRecord
from xfm.data.picture_formats import PictureError
from xfm.data.pictures import picture_suffix
from xfm.data.sources.shard_index import index_shard, write_index
from xfm.errors import UserError, printable
from xfm.files import read_json_object, write_text, writing
from xfm.world.storage import ShardWriter, to_json

MADE = "made"
NAMED = 100
"""Damaged records of a piece whose names and flaws are kept; all are counted."""


@dataclass
class ShardMark:
    """What a unit has done: the marker beside its shard.

    Attributes:
        read: records.
        written: records of the shard; 0 has no shard.
        bytes: of the shard.
        sha256: of the shard.
        counts: captions, regions, words of texts and so on that were written.
        left_out: records by reason.
        parts: captions and regions that were left out or mended, by reason.
        bad: name and flaw of damaged records, the first `NAMED`.
    """

    read: int = 0
    written: int = 0
    bytes: int = 0
    sha256: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    bad: list[dict[str, str]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the marker."""
        plain = asdict(self) | {
            name: counted(getattr(self, name)) for name in ("counts", "left_out", "parts")
        }
        write_text(path, json.dumps(plain, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "ShardMark":
        """Read a marker; raises UserError."""
        plain = read_json_object(path)
        try:
            counters = {name: Counter(plain[name]) for name in ("counts", "left_out", "parts")}
            require_kept(found := cls(**{**plain, **counters}))
        except (TypeError, KeyError) as error:
            raise UserError(f"{path} is damaged ({error}); remove it, and run the command again") from None
        return found

    def leave_out(self, record: SourceRecord, verdict: Judgement) -> None:
        """Count a record that is left out."""
        self.left_out[verdict.reason] += 1
        if verdict.reason == BAD and len(self.bad) < NAMED:
            self.bad.append({"place": printable(record.name), "error": printable(verdict.detail)})

    def describe(self, annotation: dict[str, Any]) -> None:
        """Count what is written beside a picture."""
        self.counts["pictures"] += 1
        for name in ("captions", "regions"):
            self.counts[name] += len(annotation.get(name, ()))
            self.counts[f"pictures with {name}"] += bool(annotation.get(name))


class ShardUnits:
    """Writes the shard of each piece; see `xfm.engines.base.Units`."""

    def __init__(self, preparation: Preparation, plan: PreparationPlan) -> None:
        self.preparation, self.plan = preparation, plan
        self.folder = preparation.work / MADE

    def marker(self, number: int) -> Path:
        """The marker of a unit."""
        return self.folder / f"{number:06d}.json"

    def shard(self, number: int) -> Path:
        """The shard of a unit, until it is put in place."""
        return self.folder / f"{number:06d}.tar"

    def index(self, number: int) -> Path:
        """The index of that shard alone."""
        return self.folder / f"{number:06d}.xfm"

    def is_made(self, number: int) -> bool:
        """Whether the marker is there, which is written last."""
        return self.marker(number).exists()

    def make(self, number: int) -> None:
        """Read a piece and write its shard.

        Raises:
            UserError: the folder cannot be written, or the corpus cannot be read.
        """
        if not self.plan.folder.is_dir():
            raise UserError(
                f"{self.plan.folder} is not there: the folders of a preparation must be seen by all machines "
                "that work on it under the same paths"
            )
        with writing(self.folder, "and run the same command again"):
            self.folder.mkdir(exist_ok=True)
            shard = self.shard(number)
            partial = shard.with_name(f".{shard.name}.partial-{socket.gethostname()}-{os.getpid()}")
            try:
                mark = self._write(number, partial)
                if mark.written:
                    os.replace(partial, shard)
                    indexed = index_shard(shard)
                    write_index(self.folder, [indexed], self.index(number).name)
                    mark.bytes, mark.sha256 = indexed.size, indexed.sha256.hex()
            finally:
                partial.unlink(missing_ok=True)
            mark.save(self.marker(number))

    def _write(self, number: int, path: Path) -> ShardMark:
        reader = self.preparation.reader()
        judge = Judge(self.preparation.config, reader.needs_text)
        dropped = None
        if self.preparation.config.looks_first:
            dropped = dropped_rows(self.preparation.work / DROPPED, number)
        mark = ShardMark()
        with ShardWriter(path) as shard:
            for row, record in enumerate(reader.records(self.plan.pieces[number], self.plan.listings)):
                mark.read += 1
                verdict = judge(record)
                if not verdict.reason and dropped is not None:
                    verdict = _dropped(verdict, dropped, row)
                if not verdict.reason:
                    verdict = self._add(shard, f"{number:06d}{row:07d}", judge, verdict, mark)
                if verdict.reason:
                    mark.leave_out(record, verdict)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        return mark

    def _add(
        self, shard: ShardWriter, key: str, judge: Judge, verdict: Judgement, mark: ShardMark
    ) -> Judgement:
        """Write a record; the verdict on one whose picture turns out damaged."""
        if verdict.header is None:
            shard.add(f"{key}.txt", verdict.data)
            mark.counts.update({"texts": 1, "bytes of text": len(verdict.data)})
        else:
            data, header, partial = verdict.data, verdict.header, verdict.partial
            if judge.recoding.touches(header.width, header.height):
                try:
                    data, lost = judge.recoding.encoded(data, header)
                    partial = partial or lost
                except PictureError as error:
                    return Judgement(BAD, str(error))
                mark.counts["pictures encoded anew"] += 1
            shard.add(f"{key}{picture_suffix(data)}", data)
            shard.add(f"{key}.json", to_json(verdict.annotation).encode())
            if partial:
                mark.counts["pictures of which a part is lost"] += 1
            mark.describe(verdict.annotation)
        mark.parts.update(verdict.parts)
        mark.written += 1
        return verdict


def _dropped(verdict: Judgement, dropped: np.ndarray, row: int) -> Judgement:
    if row >= len(dropped):
        raise UserError("the corpus has changed while it was prepared; begin anew with --force")
    return Judgement(REASONS[dropped[row]], "the picture does not decode") if dropped[row] else verdict
