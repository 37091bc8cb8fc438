"""The encoding of pictures for a collection, a unit of work each: a part of a source becomes a file."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xfm.data.tables import ColumnMap
from xfm.engines.whole import folder_mark
from xfm.errors import UserError
from xfm.files import MAX_LOG, read_text, write_text, writing
from xfm.index.offers import EncodedPicture, Offer, PictureSupply, SupplyCut
from xfm.index.rows import to_png
from xfm.index.sources import open_supply
from xfm.inference.base import Pipeline
from xfm.inference.engine import Engine
from xfm.inference.picture_inputs import Picture, PictureReader
from xfm.inference.pipeline import pipeline
from xfm.inference.threads import one_thread
from xfm.modeling.pixels import model_pixels

_PLAIN, _MOST = ("key", "source", "stamp", "table", "replaces"), 64 << 30
_AGAIN = "and run the same command again: it goes on where it stopped"


@dataclass(frozen=True)
class IndexWork:
    """Sources and the model that encodes their pictures. Machines see both under the same paths.

    Attributes:
        model: folder, run, or name of the package or the hub.
        sources: folders, tables and tar shards.
        columns, key, keep, as_text, root: see `xfm.index.sources.open_supply`.
        device: where models run; they compute in float32.
    """

    model: str
    sources: tuple[Path, ...]
    columns: str = ""
    key: str | None = None
    keep: tuple[str, ...] | None = None
    device: str = "auto"
    as_text: tuple[str, ...] = ()
    root: Path | None = None

    def supply(self, source: int, known: SupplyCut | None = None) -> PictureSupply:
        """A source by its place; raises UserError."""
        given = ColumnMap.parse(self.columns), self.key, self.keep, self.as_text
        return open_supply(self.sources[source], *given, known, self.root)


class UnreadKnown(UserError):
    """Stands for a picture that was known as it is when the work was planned, and was not read."""


@dataclass(frozen=True)
class EncodedPart:
    """Pictures of a part of a source, in its order.

    Attributes:
        offers: encoded, or why not.
        left_out: fields that cannot be metadata, and in how many rows.
    """

    offers: Sequence[Offer]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        rows = list[dict[str, Any]]()
        for one in self.offers:
            row = {name: getattr(one, name) for name in _PLAIN} | {"metadata": dict(one.metadata)}
            if isinstance(made := one.picture, EncodedPicture):
                png, numbers = b64encode(made.pixels).decode(), made.vector.tolist()
                row["picture"] = [png, made.width, made.height, made.key.hex(), numbers]
            else:
                row["error"] = None if isinstance(made, UnreadKnown) else str(made)
            rows.append(row)
        write_text(path, json.dumps({"rows": rows, "left_out": dict(self.left_out)}))

    @classmethod
    def read(cls, path: Path) -> "EncodedPart":
        """Read it.

        Raises:
            UserError: it is damaged.
        """
        try:
            told, offers = json.loads(read_text(path, _MOST)), list[Offer]()
            for row in told["rows"]:
                picture: Any = UnreadKnown() if row.get("error") is None else UserError(row["error"])
                if "picture" in row:
                    png, width, height, key, numbers = row["picture"]
                    vector = np.array(numbers, np.float32)
                    picture = EncodedPicture(b64decode(png), width, height, bytes.fromhex(key), vector)
                plain = {name: row[name] for name in _PLAIN}
                offers.append(Offer(picture=picture, metadata=row["metadata"], **plain))
            return cls(offers, told["left_out"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is damaged ({error}); remove it and its marker, and run the same command again"
            ) from None


@dataclass(frozen=True)
class IndexUnit:
    """A part of a source.

    Attributes:
        source: its place.
        first: number of the first picture.
        last: of the first one behind it; None is the end.
    """

    source: int
    first: int
    last: int | None


@dataclass(frozen=True)
class IndexUnits:
    """Encodes each part; see `xfm.engines.base.Units`.

    Attributes:
        work: what is encoded.
        plan: folder of what was planned: how sources are cut, and which pictures are known.
        made: folder of the files.
        units: the parts.
    """

    work: IndexWork
    plan: Path
    made: Path
    units: tuple[IndexUnit, ...]

    def marker(self, number: int) -> Path:
        """The marker of a unit."""
        return self.made / f"{number:06d}.done"

    def part(self, number: int) -> Path:
        """The file of a unit, until it is taken in."""
        return self.made / f"{number:06d}.json"

    def is_made(self, number: int) -> bool:
        """Whether the marker is there, which is written last."""
        return self.marker(number).exists()

    def make(self, number: int) -> None:
        """Read and encode the pictures of a part.

        Raises:
            UserError: the model or the source cannot be read, or the folder cannot be written.
        """
        if not self.plan.is_dir():
            raise UserError(
                f"{self.plan} is not there: what is read and written must be seen by all machines that work "
                "on it under the same paths"
            )
        unit = self.units[number]
        pipe, supply = _opened(self, unit.source)
        supply.left_out = {}
        known = _known(self.plan, number)
        with one_thread(pipe.engine.device):
            offers = [*_encoded(pipe.engine, supply.part(unit.first, unit.last), known)]
        with writing(self.made, _AGAIN):
            self.made.mkdir(exist_ok=True)
            EncodedPart(offers, supply.left_out).write(self.part(number))
            self.marker(number).touch()


def cut_file(plan: Path, source: int) -> Path:
    """Where the plan says how a source is cut."""
    return plan / f"source-{source}.json"


def known_file(plan: Path, number: int) -> Path:
    """Where the plan says which pictures of a unit are known: their keys, and their stamps."""
    return plan / f"known-{number:06d}.json"


def _known(plan: Path, number: int) -> Mapping[str, str]:
    path = known_file(plan, number)
    return json.loads(read_text(path, MAX_LOG)) if path.exists() else {}


_open: tuple[Any, int, Pipeline[Any, Any], PictureSupply] | None = None
"""What the units of this process have read: the model once, and tables up to where the last unit ended."""


def _opened(units: IndexUnits, source: int) -> tuple[Pipeline[Any, Any], PictureSupply]:
    global _open
    key = units.work, folder_mark(units.plan)
    same = _open is not None and _open[0] == key
    if _open is None or not same or _open[1] != source:
        told = json.loads(read_text(cut_file(units.plan, source), MAX_LOG))
        twice = {int(row): before for row, before in told["twice"].items()}
        pipe = _open[2] if _open is not None and same else _pipe(units.work)
        cut = SupplyCut([], told["names"], twice, told["numbers"])
        _open = key, source, pipe, units.work.supply(source, cut)
    return _open[2:]


def _pipe(work: IndexWork) -> Pipeline[Any, Any]:
    return pipeline("embed", work.model, device=work.device, precision="fp32")


def _encoded(engine: Engine, offers: Iterator[Offer], known: Mapping[str, str]) -> Iterator[Offer]:
    """The pictures with their vectors; what cannot be read, and what is known, as it is."""
    reader = PictureReader(engine.pretrained.preprocessing, None)
    while window := list(islice(offers, engine.batch_size)):
        read = [_read(one, reader, known) for one in window]
        pictures = [one for one in read if isinstance(one, Picture)]
        vectors = iter(_vectors(engine, pictures))
        for offer, found in zip(window, read, strict=True):
            if not isinstance(found, Picture):
                yield found
                continue
            png = to_png(found.pixels)
            encoded = EncodedPicture(png, found.width, found.height, found.key, next(vectors))
            yield replace(offer, picture=encoded)


def _read(offer: Offer, reader: PictureReader, known: Mapping[str, str]) -> Picture | Offer:
    if offer.stamp and known.get(offer.key) == offer.stamp:
        return replace(offer, picture=UnreadKnown())
    try:
        if isinstance(offer.picture, UserError):
            raise offer.picture
        return reader.read(offer.picture)
    except UserError as error:
        return replace(offer, picture=UserError(str(error)))


@torch.inference_mode()
def _vectors(engine: Engine, pictures: list[Picture]) -> list[Any]:
    if not pictures:
        return []
    pixels = torch.stack([one.pixels for one in pictures]).to(engine.device)
    with engine.arithmetic():
        found = engine.model.embed_image(model_pixels(pixels, engine.pretrained.preprocessing))
    return [*found.float().cpu().numpy()]
