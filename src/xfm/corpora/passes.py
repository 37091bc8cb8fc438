"""The two passes over a corpus: duplicates are found, then shards are written, a piece a unit of work."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xfm.config.corpora import Duplicates, PrepareConfig
from xfm.core.errors import UserError, explained, import_extra, printable
from xfm.core.files import file_digest, writing
from xfm.corpora.filtering import ALIKE, BAD, DUPLICATE, EVALUATED, FilterResult, filter_record
from xfm.corpora.images import encoded, near_any, near_earlier, perceptual_hash, shrunk
from xfm.corpora.preparation import PreparationPlan
from xfm.data.image_formats import ImageError
from xfm.data.images import image_suffix
from xfm.data.sources.shard_index import index_shard, write_index
from xfm.executors.executor import Executor
from xfm.executors.sharded_map import AGAIN, ShardedMap, whole_file
from xfm.world.storage import ShardWriter, to_json

DROPPED = "dropped"
REASONS = ("", EVALUATED, DUPLICATE, ALIKE, BAD)
"""By the codes of rows, of which the first is not dropped."""
_SEEN = np.dtype([("digest", "S16"), ("hash", "<u8"), ("state", "u1")])
_FIT, _EVALUATED, _DUPLICATE, _ALIKE, _BROKEN = range(len(REASONS))
# Known by its name as a picture of an evaluation; looks whole and does not decode, or is left out anyway.


NAMED = 100
"""Damaged records of a piece whose names and flaws are kept; all are counted."""


@dataclass
class ShardMark:
    """Marker of a finished unit: records read and written (0: no shard), pictures, captions and so on that
    were written; records left out, parts dropped or repaired, by reason; the first `NAMED` damaged ones."""

    read: int = 0
    written: int = 0
    bytes: int = 0
    sha256: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    bad: list[dict[str, str]] = field(default_factory=list)

    def add(self, other: "ShardMark") -> None:
        """Add the counts of another; of the damaged records the first stays."""
        self.read += other.read
        self.written += other.written
        self.bytes += other.bytes
        self.counts.update(other.counts)
        self.left_out.update(other.left_out)
        self.parts.update(other.parts)
        self.bad = self.bad or other.bad[:1]

    def check(self, most: int | None, complete: bool) -> None:
        """Refuse more damaged records than `most`, or than half (a wrong path) from a thousand on."""
        half = self.read // 2 if complete or self.read > 1000 else self.read
        if (bad := self.left_out[BAD]) > (half if most is None else most):
            rule = "that is more than half" if most is None else f"--max-bad leaves out {most} at most"
            told = f"{bad:,} of {self.read:,} records are damaged, and {rule}"
            first = next((f"{one['place']}: {one['error']}" for one in self.bad), "")
            raise UserError(f"{first}; {told}: check --from and the download, or give a larger --max-bad")


def _look_at(plan: PreparationPlan, number: int, stem: Path) -> ShardMark:
    config, reader = plan.preparation.config, plan.preparation.reader()
    hashes = bool(config.evaluation) or config.duplicates is Duplicates.ALIKE
    records = reader.records(plan.pieces[number], plan.listings)
    seen = list[tuple[bytes, int, int]]()
    for record in records:
        verdict = filter_record(record, config, reader.needs_text)
        digest, found, state = bytes(16), 0, _FIT
        if verdict.reason:
            state = _BROKEN
        elif not plan.names.isdisjoint(record.known_as):
            state = _EVALUATED
        else:
            digest = hashlib.sha256(verdict.data).digest()[:16]
            if hashes:
                try:
                    found = _likeness(verdict)
                except ImageError:
                    state = _BROKEN
        seen.append((digest, found, state))
    _save(stem.with_suffix(".npy"), seen, _SEEN)
    return ShardMark(len(seen))


def _likeness(record: FilterResult) -> int:
    """64 bits, more of which two pictures or texts share the more alike they are. Of texts they are one of
    each of 64 minima of hashes of three words (Li and Koenig, arXiv 0910.3349): texts that share a share J
    of their threes differ in about 32 (1 - J)."""
    if record.header is not None:
        return perceptual_hash(record.data, record.header)
    sketch = import_extra("datasketch", "--duplicates alike of texts", "language").MinHash(64)
    words = record.data.lower().split()
    sketch.update_batch([b" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))])
    bits = np.bitwise_count(sketch.hashvalues) & 1  # the lowest one alone hardly depends on the permutation
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


# ---------------------------------------------------------------- joining
def look(plan: PreparationPlan, executor: Executor, progress: bool) -> bool:
    """Do a share of the pass over all pieces; whether all are done, and it is decided what is dropped."""
    work = plan.preparation.work
    looks = ShardedMap(work, "looked", len(plan.pieces), ShardMark, partial(_look_at, plan))
    if not looks.run(executor, "looking at records", progress, unit="shard"):
        return False
    folder = work / DROPPED
    if (folder / "all").exists():
        return True
    parts = [np.load(looks.file(number, ".npy"), allow_pickle=False) for number in range(looks.count)]
    if any(part.dtype != _SEEN for part in parts):
        raise UserError(f"{looks.folder} is damaged; begin anew with --force")
    seen = np.concatenate(parts) if parts else np.empty(0, dtype=_SEEN)
    config = plan.preparation.config
    codes = seen["state"].copy()
    if config.evaluation:
        fit = np.flatnonzero(codes == _FIT)
        near = near_any(seen["hash"][fit], np.array(plan.hashes, np.uint64), config.distance)
        codes[fit[near]] = _EVALUATED
    if config.duplicates is not Duplicates.KEEP:
        fit = np.flatnonzero(codes == _FIT)
        _, first = np.unique(seen["digest"][fit], return_index=True)
        twice = np.ones(len(fit), dtype=bool)
        twice[first] = False
        codes[fit[twice]] = _DUPLICATE
        if config.duplicates is Duplicates.ALIKE:
            fit = fit[~twice]
            codes[fit[near_earlier(seen["hash"][fit], config.distance) >= 0]] = _ALIKE
    with writing(folder, AGAIN):
        folder.mkdir(exist_ok=True)
        ends = np.cumsum([len(part) for part in parts])
        for number, part in enumerate(np.split(codes, ends[:-1]) if parts else ()):
            _save(folder / f"{number:06d}.npy", part, np.uint8)
        _save(folder / "all", np.bincount(codes, minlength=len(REASONS)), np.int64)
    return True


def _save(path: Path, values: Any, kind: Any) -> None:
    with whole_file(path) as draft, draft.open("wb") as stream:
        np.save(stream, np.array(values, dtype=kind), allow_pickle=False)


def shards_of(plan: PreparationPlan) -> ShardedMap[ShardMark]:
    """The pass over all pieces."""
    return ShardedMap(plan.preparation.work, "made", len(plan.pieces), ShardMark, partial(_write_shard, plan))


def _write_shard(plan: PreparationPlan, number: int, stem: Path) -> ShardMark:
    config, reader = plan.preparation.config, plan.preparation.reader()
    path, dropped, mark = stem.with_suffix(".tar"), None, ShardMark()
    if config.looks_first:
        folder = plan.preparation.work / DROPPED
        with explained(f"{folder} cannot be read", "begin anew with --force", OSError, ValueError):
            dropped = np.load(folder / f"{number:06d}.npy", allow_pickle=False)
    with whole_file(path) as draft, ShardWriter(draft) as shard:
        for row, record in enumerate(reader.records(plan.pieces[number], plan.listings)):
            mark.read += 1
            verdict = filter_record(record, config, reader.needs_text)
            if not verdict.reason and dropped is not None:
                if row >= len(dropped):
                    raise UserError("the corpus has changed while it was prepared; begin anew with --force")
                if dropped[row]:
                    verdict = FilterResult(REASONS[dropped[row]], "the picture does not decode")
            if not verdict.reason:
                verdict = _add(shard, f"{number:06d}{row:07d}", config, verdict, mark)
            if verdict.reason:
                mark.left_out[verdict.reason] += 1
                if verdict.reason == BAD and len(mark.bad) < NAMED:
                    mark.bad.append({"place": printable(record.name), "error": printable(verdict.detail)})
    if not mark.written:
        path.unlink()
        return mark
    indexed = index_shard(path)
    write_index(path.parent, [indexed], f"{stem.name}.xfm")
    mark.bytes, mark.sha256 = indexed.size, file_digest(path)
    return mark


def _add(
    shard: ShardWriter, key: str, config: PrepareConfig, verdict: FilterResult, mark: ShardMark
) -> FilterResult:
    if verdict.header is None:
        shard.write(f"{key}.txt", verdict.data)
        mark.counts.update({"texts": 1, "bytes of text": len(verdict.data)})
    else:
        data, header = verdict.data, verdict.header
        size, quality = shrunk(header, config.max_side), config.quality
        if quality is not None or size != (header.width, header.height):
            try:
                data = encoded(data, header, size, quality)
            except ImageError as error:
                return FilterResult(BAD, str(error))
            mark.counts["pictures encoded anew"] += 1
        shard.write(f"{key}{image_suffix(data)}", data)
        shard.write(f"{key}.json", to_json(verdict.annotation).encode())
        mark.counts["pictures"] += 1
        for name in ("captions", "regions"):
            mark.counts[name] += len(verdict.annotation.get(name, ()))
            mark.counts[f"pictures with {name}"] += bool(verdict.annotation.get(name))
    mark.parts.update(verdict.parts)
    mark.written += 1
    return verdict
