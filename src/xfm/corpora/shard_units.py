"""The pass that writes shards: a unit makes a tar of a piece, and a marker beside it."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xfm.core.errors import UserError, printable
from xfm.corpora.judging import BAD, Judge, Judgement
from xfm.corpora.looking import DROPPED, REASONS, dropped_rows
from xfm.corpora.preparation import PreparationPlan
from xfm.corpora.source_record import SourceRecord
from xfm.data.picture_formats import PictureError
from xfm.data.pictures import picture_suffix
from xfm.data.sources.shard_index import index_shard, write_index
from xfm.executors.sharded_map import ShardedMap, whole_file
from xfm.world.storage import ShardWriter, to_json

NAMED = 100
"""Damaged records of a piece whose names and flaws are kept; all are counted."""


@dataclass
class ShardMark:
    """Marker of a finished unit.

    Attributes:
        read, written: records of the piece and of the shard; 0 written has no shard.
        counts: pictures, captions, regions, words of texts and so on that were written.
        left_out: records by reason.
        parts: captions and regions that were dropped or repaired, by reason.
        bad: name and flaw of the first `NAMED` damaged records.
    """

    read: int = 0
    written: int = 0
    bytes: int = 0
    sha256: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    bad: list[dict[str, str]] = field(default_factory=list)

    def leave_out(self, record: SourceRecord, verdict: Judgement) -> None:
        """Count an omitted record."""
        self.left_out[verdict.reason] += 1
        if verdict.reason == BAD and len(self.bad) < NAMED:
            self.bad.append({"place": printable(record.name), "error": printable(verdict.detail)})

    def describe(self, annotation: dict[str, Any]) -> None:
        """Count a written picture's annotation."""
        self.counts["pictures"] += 1
        for name in ("captions", "regions"):
            self.counts[name] += len(annotation.get(name, ()))
            self.counts[f"pictures with {name}"] += bool(annotation.get(name))


class BadRecords:
    """Limit of damaged records.

    Without `most`, half of them; from a thousand records on, that ends the work at once, since then the path
    or the download is wrong.
    """

    def __init__(self, most: int | None) -> None:
        if most is not None and most < 0:
            raise UserError(f"--max-bad is {most}: choose 0 or more")
        self.most, self.bad, self.read = most, 0, 0
        self._first: dict[str, str] | None = None

    def add(self, mark: ShardMark) -> None:
        """Add a shard; UserError where too many are damaged."""
        self.read += mark.read
        self.bad += mark.left_out[BAD]
        self._first = self._first or next(iter(mark.bad), None)
        if self.most is not None and self.bad > self.most:
            raise self._refusal(f"--max-bad leaves out {self.most} at most")
        if self.most is None and self.read > 1000:
            self.check_share()

    def check_share(self) -> None:
        """UserError if more than half is damaged and no limit was given."""
        if self.most is None and 2 * self.bad > self.read:
            raise self._refusal("that is more than half")

    def _refusal(self, rule: str) -> UserError:
        first = self._first or {"place": "", "error": "?"}
        return UserError(
            f"{first['place']}: {first['error']}; {self.bad:,} of {self.read:,} records are damaged, and "
            f"{rule}: check --from and the download, or give a larger --max-bad"
        )


def shards_of(plan: PreparationPlan) -> ShardedMap[ShardMark]:
    """The pass over all pieces."""
    return ShardedMap(plan.preparation.work, "made", len(plan.pieces), ShardMark, partial(_write_shard, plan))


def _write_shard(plan: PreparationPlan, number: int, stem: Path) -> ShardMark:
    shard = stem.with_suffix(".tar")
    with whole_file(shard) as draft:
        mark = _write(plan, number, draft)
    if not mark.written:
        shard.unlink()
        return mark
    indexed = index_shard(shard)
    write_index(shard.parent, [indexed], f"{stem.name}.xfm")
    mark.bytes, mark.sha256 = indexed.size, indexed.sha256.hex()
    return mark


def _write(plan: PreparationPlan, number: int, path: Path) -> ShardMark:
    config, reader = plan.preparation.config, plan.preparation.reader()
    judge, dropped, mark = Judge(config, reader.needs_text), None, ShardMark()
    if config.looks_first:
        dropped = dropped_rows(plan.preparation.work / DROPPED, number)
    with ShardWriter(path) as shard:
        for row, record in enumerate(reader.records(plan.pieces[number], plan.listings)):
            mark.read += 1
            verdict = judge(record)
            if not verdict.reason and dropped is not None:
                verdict = _dropped(verdict, dropped, row)
            if not verdict.reason:
                verdict = _add(shard, f"{number:06d}{row:07d}", judge, verdict, mark)
            if verdict.reason:
                mark.leave_out(record, verdict)
    return mark


def _add(shard: ShardWriter, key: str, judge: Judge, verdict: Judgement, mark: ShardMark) -> Judgement:
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
