"""Pictures that are offered to a collection, one after the other or in parts."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.data.folders import FolderReport
from xfm.errors import UserError
from xfm.index.column_kinds import ColumnKind
from xfm.index.conditions import Metadata, read_metadata
from xfm.inference.picture_inputs import PictureSource


@dataclass(frozen=True)
class EncodedPicture:
    """A picture that another process has read and encoded.

    Attributes:
        pixels: as the model sees it, a PNG of `xfm.index.rows.to_png`.
        width, height: of the picture as it was given, in pixels.
        key: equal for equal pixels, see `xfm.inference.picture_inputs.Picture`.
        vector: [E] float32 of length one.
    """

    pixels: bytes = field(repr=False)
    width: int
    height: int
    key: bytes
    vector: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class Offer:
    """A picture that may be taken in.

    Attributes:
        key: its name in the collection.
        source: where it is, for people.
        picture: as pipelines take pictures, or encoded already; an error where there is none.
        stamp: changes when the picture, or what is known of it, does.
        metadata: what conditions can be about.
        read: how far the source is read up to its end, for a progress bar.
        table: whose column names the picture, so that another one may have the name, too; else empty.
        replaces: whether it then takes the place of the other's picture.
    """

    key: str
    source: str
    picture: PictureSource | EncodedPicture | UserError
    stamp: str = ""
    metadata: Metadata = field(default_factory=dict)
    read: int = 0
    table: str = ""
    replaces: bool = False


@dataclass(frozen=True)
class SupplyCut:
    """How a source is cut into parts.

    Attributes:
        starts: number of the first picture of each part.
        names: of a folder, the pictures.
        twice: of a table, rows whose key an earlier row has, and which that is.
        numbers: of a table of texts, columns that hold numbers.
    """

    starts: list[int]
    names: list[str] | None = None
    twice: Mapping[int, int] = field(default_factory=dict)
    numbers: Sequence[str] = ()


class PictureSupply(ABC):
    """Pictures in a fixed order.

    Attributes:
        total: length in the unit of `Offer.read`, None where it is not known.
        unit: of a progress bar.
        report: what else is in a folder, None where there is nothing to say.
        left_out: fields of rows that cannot be metadata, such as lists, and in how many rows.
    """

    total: int | None = None
    unit: str = "picture"
    report: FolderReport | None = None

    def __init__(self) -> None:
        self.left_out: dict[str, int] = {}

    def candidates(self) -> Iterator[Offer]:
        """The pictures; raises UserError where the source cannot be read on."""
        return self.part(0, None)

    @abstractmethod
    def cut(self, size: int) -> "SupplyCut":
        """Cut the pictures into parts of so many; raises UserError where the source cannot be read."""

    @abstractmethod
    def part(self, first: int, last: int | None) -> Iterator[Offer]:
        """The pictures from one number up to another, which is not among them; None is the end."""

    def columns(self) -> Mapping[str, ColumnKind]:
        """What the columns of a table of texts hold, as all rows tell; empty where cells say it themselves.

        Raises:
            UserError: the source cannot be read.
        """
        return {}

    def metadata(self, cells: Mapping[str, Any]) -> Metadata:
        """What of some cells can be metadata; the others are counted."""
        found, others = read_metadata(cells)
        for name in others:
            self.left_out[name] = self.left_out.get(name, 0) + 1
        return found


def file_stamp(path: Path) -> str:
    """What tells a file from a changed one; empty where it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}"


def told_stamp(stamp: str, told: Metadata) -> str:
    """The stamp of a file together with what is known of a picture in it."""
    whole = json.dumps([stamp, dict(told)], sort_keys=True).encode()
    return hashlib.blake2b(whole, digest_size=16).hexdigest()
