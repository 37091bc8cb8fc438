"""Units of encoding for a collection: a part of a source becomes a file."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xfm.core.errors import UserError
from xfm.core.files import MAX_LOG, read_text, write_text
from xfm.data.tables import ColumnMap
from xfm.executors.sharded_map import PLAN, ShardedMap, plan_id
from xfm.inference.base import Pipeline
from xfm.inference.engine import Engine, one_thread
from xfm.inference.input_parsing import Picture, PictureReader
from xfm.inference.pipeline import pipeline
from xfm.search.sources import EncodedPicture, IngestItem, PictureSupply, SourceParts, open_supply
from xfm.search.store import to_png

_PLAIN, _MOST = ("key", "source", "stamp", "table", "replaces"), 64 << 30
PART = ".part"
"""Suffix of the file of a unit."""


@dataclass(frozen=True)
class IndexWork:
    """Sources and the model that encodes them, in float32. Machines see both under the same paths."""

    model: str
    sources: tuple[Path, ...]
    columns: str = ""
    key: str | None = None
    keep: tuple[str, ...] | None = None
    device: str = "auto"
    as_text: tuple[str, ...] = ()
    root: Path | None = None

    def supply(self, source: int, known: SourceParts | None = None) -> PictureSupply:
        """A source by its place; raises UserError."""
        given = ColumnMap.parse(self.columns), self.key, self.keep, self.as_text
        return open_supply(self.sources[source], *given, known, self.root)


def write_part(path: Path, offers: Sequence[IngestItem], left_out: Mapping[str, int]) -> None:
    """Write a unit's pictures, encoded or failed, and how many rows had fields that cannot be metadata."""
    rows = list[dict[str, Any]]()
    for one in offers:
        row = {name: getattr(one, name) for name in _PLAIN} | {"metadata": dict(one.metadata)}
        if isinstance(made := one.picture, EncodedPicture):
            png, numbers = b64encode(made.pixels).decode(), made.vector.tolist()
            row["picture"] = [png, made.width, made.height, made.key.hex(), numbers]
        else:
            row["error"] = None if made is None else str(made)
        rows.append(row)
    write_text(path, json.dumps({"rows": rows, "left_out": dict(left_out)}))


def read_part(path: Path) -> tuple[list[IngestItem], Mapping[str, int]]:
    """The pictures and fields of `write_part`; UserError: damaged."""
    try:
        told, offers = json.loads(read_text(path, _MOST)), list[IngestItem]()
        for row in told["rows"]:
            picture: Any = None if row.get("error") is None else UserError(row["error"])
            if "picture" in row:
                png, width, height, key, numbers = row["picture"]
                vector = np.array(numbers, np.float32)
                picture = EncodedPicture(b64decode(png), width, height, bytes.fromhex(key), vector)
            plain = {name: row[name] for name in _PLAIN}
            offers.append(IngestItem(picture=picture, metadata=row["metadata"], **plain))
        return offers, told["left_out"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); remove it and its mark, and run the same command again"
        ) from None


@dataclass
class EncodingMark:
    """Completion mark of a unit: its number of pictures."""

    pictures: int = 0


class IndexUnit(NamedTuple):
    """A part of a source: the numbers of its first picture, and of the next part's first, or None."""

    source: int
    first: int
    last: int | None


def index_units(work: IndexWork, folder: Path, units: Sequence[IndexUnit]) -> ShardedMap[EncodingMark]:
    """The encoding of parts into files of `write_part`; the plan in `folder` has cuts and known pictures."""
    function = partial(_encode, work, folder, tuple(units))
    return ShardedMap(folder, "made", len(units), EncodingMark, function)


def _encode(
    work: IndexWork, folder: Path, units: tuple[IndexUnit, ...], number: int, stem: Path
) -> EncodingMark:
    unit = units[number]
    pipe, supply = _opened(work, folder, unit.source)
    supply.left_out = {}
    path = known_file(folder / PLAN, number)
    known: Mapping[str, str] = json.loads(read_text(path, MAX_LOG)) if path.exists() else {}
    with one_thread(pipe.engine.device):
        offers = [*_encoded(pipe.engine, supply.part(unit.first, unit.last), known)]
    write_part(stem.with_suffix(PART), offers, supply.left_out)
    return EncodingMark(len(offers))


def cut_file(plan: Path, source: int) -> Path:
    """The plan's file of a source's cut."""
    return plan / f"source-{source}.json"


def known_file(plan: Path, number: int) -> Path:
    """The plan's file of a unit's known pictures: keys and stamps."""
    return plan / f"known-{number:06d}.json"


_open: tuple[Any, int, Pipeline[Any, Any], PictureSupply] | None = None
"""What the units of this process have read: the model once, and tables up to where the last unit ended."""


def _opened(work: IndexWork, folder: Path, source: int) -> tuple[Pipeline[Any, Any], PictureSupply]:
    global _open
    key = work, plan_id(folder)
    same = _open is not None and _open[0] == key
    if _open is None or not same or _open[1] != source:
        told = json.loads(read_text(cut_file(folder / PLAN, source), MAX_LOG))
        twice = {int(row): before for row, before in told["twice"].items()}
        pipe = (
            _open[2]
            if _open is not None and same
            else pipeline("embed", work.model, device=work.device, precision="fp32")
        )
        _open = key, source, pipe, work.supply(source, SourceParts([], told["names"], twice, told["numbers"]))
    return _open[2:]


def _encoded(engine: Engine, offers: Iterator[IngestItem], known: Mapping[str, str]) -> Iterator[IngestItem]:
    reader = PictureReader(engine.pretrained.preprocessing, None)
    while window := list(islice(offers, engine.batch_size)):
        read = [_read(one, reader, known) for one in window]
        pictures = [one for one in read if isinstance(one, Picture)]
        vectors = iter(engine.image_vectors([one.pixels for one in pictures]) if pictures else ())
        for offer, found in zip(window, read, strict=True):
            if not isinstance(found, Picture):
                yield found
                continue
            png = to_png(found.pixels)
            encoded = EncodedPicture(png, found.width, found.height, found.key, next(vectors))
            yield replace(offer, picture=encoded)


def _read(offer: IngestItem, reader: PictureReader, known: Mapping[str, str]) -> Picture | IngestItem:
    if offer.stamp and known.get(offer.key) == offer.stamp:
        return replace(offer, picture=None)
    try:
        if isinstance(offer.picture, UserError):
            raise offer.picture
        return reader.read(offer.picture)
    except UserError as error:
        return replace(offer, picture=UserError(str(error)))
