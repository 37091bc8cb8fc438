"""Tar shards of one folder as a source. A shard is compared with its index when it is first used, and a
member is read with the header before it: an index that is stale or lies gives nothing but bad records."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xfm.core.errors import UserError
from xfm.core.files import reading
from xfm.data.images import byte_limit, too_many_bytes
from xfm.data.records import (
    MAX_ANNOTATION,
    BadRecordError,
    NoAnnotation,
    Record,
    SampleKind,
    parse_annotation,
)
from xfm.data.schema import Origin
from xfm.data.sources.base import RecordSource, StoredFile, sampled_digest, stale
from xfm.data.sources.remote_shards import LOOKED_AT, RemoteShards
from xfm.data.sources.shard_index import COMMAND, ShardIndex
from xfm.data.sources.tar import JSON, PICTURE, TEXT, stored_key, text_rows, unpacked

_COLUMN_NAMES = {PICTURE: "picture", JSON: "JSON", TEXT: "text"}


@dataclass(frozen=True, eq=False)
class LocalShards:
    """Some shards in a local or mounted folder; the index may know others, too."""

    folder: Path
    names: Sequence[str]
    index: ShardIndex
    files: dict[str, StoredFile] = field(default_factory=dict)
    reader: ClassVar[type[StoredFile]] = StoredFile
    distant: ClassVar[bool] = False

    @property
    def remedy(self) -> str:
        """What to do where the shards are not those of their index."""
        if self.index.place is None:
            return "start again"
        return f"run `{COMMAND} {self.folder}`, or download or prepare the shard again"

    def name(self, shard: str) -> str:
        """The whole name of a shard, for people."""
        return str(self.folder / shard)

    def file(self, shard: int) -> StoredFile:
        """A shard of the index; a copy (other time) is known by its sampled digest. Raises OSError."""
        name, size = self.index.names[shard], int(self.index.sizes[shard])
        if name in self.files:
            return self.files[name]
        file = StoredFile.of(self.folder / name)
        if file.size != size:
            raise stale(f"it has {file.size} bytes and was indexed with {size}; {self.remedy}")
        known = self.index.modified[shard], self.index.samples[shard].tobytes()
        if file.modified != known[0] and sampled_digest(file) != known[1]:
            before = "opened" if self.index.place is None else "indexed"
            raise stale(f"it was changed after it had been {before}; {self.remedy}")
        self.files[name] = file
        return file


class ShardSource(RecordSource):
    """The records of some shards, one shard after the other. As text, images that have none beside them are
    no records. Raises UserError where a shard is not in the index, holds none of the kind, or has changed."""

    def __init__(self, shards: LocalShards | RemoteShards, kind: SampleKind) -> None:
        super().__init__(kind)
        names, index = shards.names, shards.index
        self._shards, self._index, self.distant = shards, index, shards.distant
        self._numbers = index.numbers(names)
        if (self._numbers < 0).any():
            lost = shards.name(names[int(np.argmax(self._numbers < 0))])
            raise UserError(f"{lost}: the shard is not in {index.place}; {shards.remedy}.")
        counts = index.counts(texts=kind is SampleKind.TEXT)[self._numbers]
        if not counts.all():
            empty = shards.name(names[int(np.argmin(counts))])
            raise UserError(f"{empty}: the shard holds no {kind} records; check the path and its names.")
        self._all_texts = index.counts() == index.counts(texts=True)
        self._ends = np.cumsum(counts)
        for number in self._numbers.tolist() if len(names) <= LOOKED_AT else ():
            with reading(shards.name(index.names[number]), "check the shard"):
                shards.file(number)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def record(self, index: int) -> Record:
        """The record at `index`; raises BadRecordError when a member is missing, too large or elsewhere."""
        shard, row = self._located(index)
        origin = Origin(self._shards.name(self._index.names[shard]), f"#{row}")
        try:
            stored = _StoredRecord(self._shards, self._shards.file(shard), self._spans(shard, row), origin)
        except OSError as error:
            raise BadRecordError(origin, f"the shard cannot be read ({error.strerror})") from None
        picture, annotation = None, {}
        if self.kind is not SampleKind.TEXT and (picture := stored.member(PICTURE, byte_limit())) is None:
            raise stored.bad("the picture is missing")
        if self.kind is not SampleKind.IMAGE:
            annotation = stored.annotation("text" if self.kind is SampleKind.TEXT else "caption")
        return Record(stored.origin, picture, annotation)  # with the key, which a header has told

    def expect(self, first: int, stop: int) -> None:
        """See `RecordSource.expect`: of each shard, what lies from the first to the last of them."""
        while first < stop:
            turn = int(np.searchsorted(self._ends, first, "right"))
            last = min(stop, int(self._ends[turn])) - 1
            with contextlib.suppress(OSError):  # whoever reads it will say so
                (shard, start), (_, end) = self._located(first), self._located(last)
                both = [span for row in (start, end) for span in self._spans(shard, row) if span[0]]
                offset = min((place - lead for place, _, lead in both), default=0)
                behind = max((place + size for place, size, _ in both), default=0)
                file: Any = self._shards.file(shard)
                if 0 <= offset < behind <= file.size:
                    self._shards.reader.expect(file, offset, behind - offset)
            first = last + 1

    def _located(self, index: int) -> tuple[int, int]:
        turn = int(self._ends.searchsorted(index, "right"))
        shard, row = int(self._numbers[turn]), index - (int(self._ends[turn - 1]) if turn else 0)
        if self.kind is SampleKind.TEXT and not self._all_texts[shard]:
            row = int(_texts_among(self._index, shard)[row])
        return shard, row

    def _spans(self, shard: int, row: int) -> list[tuple[int, int, int]]:
        first = self._index.start(shard) + row
        return [unpacked(span) for span in self._index.spans(first, first + 1)[0].tolist()]


@lru_cache(maxsize=16)
def _texts_among(index: ShardIndex, shard: int) -> np.ndarray:
    return text_rows(index.spans(index.start(shard), int(index.ends[shard])))


@dataclass
class _StoredRecord:
    """Members of a record; its origin has the key as soon as a header has been read."""

    shards: LocalShards | RemoteShards
    file: Any
    spans: list[tuple[int, int, int]]
    origin: Origin
    key: str | None = None

    def bad(self, reason: str, kind: type[BadRecordError] = BadRecordError) -> BadRecordError:
        for column, (offset, _, _) in enumerate(self.spans):
            if self.key is None and offset > 0:
                with contextlib.suppress(OSError):
                    self._bytes(column, content=0)
        return kind(self.origin, reason)

    def annotation(self, text_field: str) -> dict:
        if (data := self.member(JSON, MAX_ANNOTATION)) is not None:
            return parse_annotation(data, self.origin)
        if (data := self.member(TEXT, MAX_ANNOTATION)) is None:
            raise self.bad("the JSON or text beside the picture is missing", NoAnnotation)
        try:
            return {text_field: data.decode("utf-8")}
        except UnicodeDecodeError:
            raise self.bad("the text is not UTF-8") from None

    def member(self, column: int, limit: int) -> bytes | None:
        (offset, size, _), name = self.spans[column], _COLUMN_NAMES[column]
        if offset == 0:
            return None
        if size > limit:
            raise self.bad(f"the {name} {too_many_bytes(size, limit, column == PICTURE)}")
        try:
            data = self._bytes(column, content=size)
        except OSError as error:
            raise self.bad(f"the shard cannot be read ({error.strerror})") from None
        if data is None:
            told = f"byte {offset}, where the index has it; {self.shards.remedy}"
            raise self.bad(f"the {name} is not at {told}")
        return data

    def _bytes(self, column: int, content: int) -> bytes | None:
        offset, size, lead = self.spans[column]
        if not 0 < lead <= offset <= self.file.size - size:
            return None
        data = self.shards.reader.read(self.file, offset - lead, lead + content)
        key = stored_key(data[:lead], size, column)
        if self.key is None and key is not None:
            self.key, self.origin = key, replace(self.origin, key=key)
        return data[lead:] if key is not None and key == self.key else None
