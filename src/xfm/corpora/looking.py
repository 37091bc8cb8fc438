"""The pass before writing: digest and hash of each record, and from all of them the duplicates.

Units look at a piece each; the outcome follows from the order of the corpus, not from who did which: of equal
or alike pictures the first stays.
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xfm.config.corpora import Duplicates
from xfm.core.errors import UserError
from xfm.core.files import writing
from xfm.corpora.judging import ALIKE, BAD, DUPLICATE, EVALUATED, Judge
from xfm.corpora.likeness import near_any, near_earlier, perceptual_hash
from xfm.corpora.preparation import PreparationPlan
from xfm.corpora.source_record import SourceRecord
from xfm.data.picture_formats import PictureError
from xfm.executors.sharded_map import AGAIN, ShardedMap, whole_file

DROPPED = "dropped"
REASONS = ("", EVALUATED, DUPLICATE, ALIKE, BAD)
"""By the codes of dropped rows."""
_SEEN = np.dtype([("digest", "S16"), ("hash", "<u8"), ("state", "u1")])
_OUT, _FIT, _EVALUATED, _BROKEN = range(4)
# Left out anyway; fit; known by its name as a picture of an evaluation; looks whole and does not decode.


@dataclass
class LookMark:
    """Number of records of a finished piece."""

    records: int = 0


def looks_of(plan: PreparationPlan) -> ShardedMap[LookMark]:
    """The pass over all pieces."""
    return ShardedMap(plan.preparation.work, "looked", len(plan.pieces), LookMark, partial(_look_at, plan))


def _look_at(plan: PreparationPlan, number: int, stem: Path) -> LookMark:
    config, reader = plan.preparation.config, plan.preparation.reader()
    judge = Judge(config, reader.needs_text)
    names = plan.evaluated().names if config.evaluation else frozenset[str]()
    hashes = bool(config.evaluation) or config.duplicates is Duplicates.ALIKE
    records = reader.records(plan.pieces[number], plan.listings)
    seen = [_look(record, judge, names, hashes) for record in records]
    _save(stem.with_suffix(".npy"), seen, _SEEN)
    return LookMark(len(seen))


def _look(record: SourceRecord, judge: Judge, names: frozenset[str], hashes: bool) -> tuple[bytes, int, int]:
    verdict = judge(record)
    if verdict.reason:
        return bytes(16), 0, _OUT
    if not names.isdisjoint(record.known_as):
        return bytes(16), 0, _EVALUATED
    digest, found = hashlib.sha256(verdict.data).digest()[:16], 0
    if hashes and verdict.header is not None:
        try:
            found = perceptual_hash(verdict.data, verdict.header)
        except PictureError:
            return digest, 0, _BROKEN
    return digest, found, _FIT


# ---------------------------------------------------------------- joining
def join(looks: ShardedMap[LookMark], plan: PreparationPlan) -> None:
    """Decide what is dropped of each piece, once."""
    folder = plan.preparation.work / DROPPED
    if (folder / "all").exists():
        return
    parts = [np.load(looks.file(number, ".npy"), allow_pickle=False) for number in range(looks.count)]
    if any(part.dtype != _SEEN for part in parts):
        raise UserError(f"{looks.folder} is damaged; begin anew with --force")
    seen = np.concatenate(parts) if parts else np.empty(0, dtype=_SEEN)
    codes = _codes(seen, plan)
    with writing(folder, AGAIN):
        folder.mkdir(exist_ok=True)
        ends = np.cumsum([len(part) for part in parts])
        for number, part in enumerate(np.split(codes, ends[:-1]) if parts else ()):
            _save(folder / f"{number:06d}.npy", part, np.uint8)
        _save(folder / "all", np.bincount(codes, minlength=len(REASONS)), np.int64)


def _codes(seen: np.ndarray, plan: PreparationPlan) -> np.ndarray:
    """[N] uint8 places in `REASONS`."""
    config = plan.preparation.config
    codes = np.zeros(len(seen), dtype=np.uint8)
    codes[seen["state"] == _EVALUATED] = 1
    codes[seen["state"] == _BROKEN] = 4
    if config.evaluation:
        fit = np.flatnonzero(seen["state"] == _FIT)
        leaks = near_any(seen["hash"][fit], plan.evaluated().hashes, config.distance)
        codes[fit[leaks]] = 1
    if config.duplicates is Duplicates.KEEP:
        return codes
    fit = np.flatnonzero((seen["state"] == _FIT) & (codes == 0))
    _, first = np.unique(seen["digest"][fit], return_index=True)
    twice = np.ones(len(fit), dtype=bool)
    twice[first] = False
    codes[fit[twice]] = 2
    if config.duplicates is Duplicates.ALIKE:
        fit = fit[~twice]
        codes[fit[near_earlier(seen["hash"][fit], config.distance)]] = 3
    return codes


def dropped_rows(folder: Path, number: int) -> np.ndarray:
    """[N] uint8 places in `REASONS` of a piece's records; UserError where the file is missing."""
    try:
        return np.load(folder / f"{number:06d}.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} cannot be read ({error}); begin anew with --force") from error


def _save(path: Path, values: Any, kind: Any) -> None:
    with whole_file(path) as draft, draft.open("wb") as stream:
        np.save(stream, np.array(values, dtype=kind), allow_pickle=False)
