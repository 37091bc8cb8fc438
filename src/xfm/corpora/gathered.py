"""Corpora whose pictures and annotations lie apart: joined once, and listed in a file for each shard."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from xfm.core.files import open_regular
from xfm.corpora.source_record import Piece, SourceRecord

T = TypeVar("T")


class GatheredReader(ABC):
    """Lists joined records, so that a process reads the listing of its own shard alone."""

    needs_text = True

    def __init__(self, shard_size: int) -> None:
        self._shard_size = shard_size

    @abstractmethod
    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        """All records, in a fixed order."""

    def pieces(self, listings: Path) -> Iterator[Piece]:
        """See `CorpusReader.pieces`."""
        for number, part in enumerate(parts_of(self.gathered(listings), self._shard_size)):
            listings.mkdir(exist_ok=True)
            name = f"{number:06d}.jsonl"
            with (listings / name).open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(_listed(record, listings).to_line() for record in part)
            yield Piece(name, 0, len(part))

    def records(self, piece: Piece, listings: Path) -> Iterator[SourceRecord]:
        """See `CorpusReader.records`."""
        with open_regular(listings / piece.file) as file:
            for line in file:
                record = SourceRecord.from_line(line.decode("utf-8"))
                if isinstance(
                    record.picture, Path
                ):  # of one that lies beside the listings, the name is relative
                    record = replace(record, picture=listings / record.picture)
                yield record


def _listed(record: SourceRecord, listings: Path) -> SourceRecord:
    """The folder of the listings is moved when it is complete: paths below it are relative."""
    picture = record.picture
    if isinstance(picture, Path) and picture.is_relative_to(listings):
        return replace(record, picture=picture.relative_to(listings))
    return record


def parts_of(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    rest = iter(items)
    while part := [*islice(rest, size)]:
        yield part
