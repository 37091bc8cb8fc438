"""Tar shards of one folder as a source. A shard is compared with its index when it is first used, and a
member is read together with the header before it: neither a stale index nor one made to mislead gives
anything but bad records."""

import contextlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from xfm.core.errors import UserError
from xfm.data.images import too_many_bytes
from xfm.data.records import BadRecordError, Limits, NoAnnotation, Record, SampleKind, parse_annotation
from xfm.data.schema import Origin
from xfm.data.sources.base import FILES, RecordSource, StaleError, StoredFile, sampled_digest
from xfm.data.sources.remote_shards import RemoteShards
from xfm.data.sources.shard_index import COMMAND, ShardIndex
from xfm.data.sources.tar import JSON, PICTURE, TEXT, stored_key, text_rows, unpacked

_LOOKED_AT = 1000
"""So many shards are looked at as soon as they are opened."""
_COLUMN_NAMES = {PICTURE: "picture", JSON: "JSON", TEXT: "text"}


class LocalShards:
    """Shards in a local or mounted folder; `indexed`: a user has written their index."""

    distant = False

    def __init__(self, folder: Path, indexed: bool) -> None:
        self.folder, self._indexed = folder, indexed
        self._before = str(folder / "-").removesuffix("-")  # paths are slow to join, a time for each record

    @property
    def remedy(self) -> str:
        """What to do where the shards are not those of their index."""
        if not self._indexed:
            return "start again"
        return f"run `{COMMAND} {self.folder}`, or download or prepare the shard again"

    def name(self, shard: str) -> str:
        """The whole name of a shard, for people."""
        return self._before + shard

    def file(self, index: ShardIndex, shard: int) -> StoredFile:
        """A shard of an index; a copy (other time) is known by its sampled digest. Raises OSError."""
        file, size = StoredFile.of(self.folder / index.names[shard]), int(index.sizes[shard])
        if file.size != size:
            raise StaleError(f"it has {file.size} bytes and was indexed with {size}; {self.remedy}")
        if file.modified != index.modified[shard] and sampled_digest(file) != index.samples[shard].tobytes():
            before = "indexed" if self._indexed else "opened"
            raise StaleError(f"it was changed after it had been {before}; {self.remedy}")
        return file

    def read(self, file: StoredFile, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`; raises OSError."""
        return FILES.read(file, offset, size)

    def expect(self, file: StoredFile, offset: int, size: int) -> None:
        """Hear what will be read soon; raises OSError."""
        FILES.expect(file, offset, size)


class ShardSource(RecordSource):
    """The records of some shards, one shard after the other, by an index that may know others, too. As text,
    images that have none beside them are no records. Raises UserError where a shard is not in the index,
    holds nothing of the kind, or has changed."""

    def __init__(
        self,
        storage: LocalShards | RemoteShards,
        names: Sequence[str],
        index: ShardIndex,
        kind: SampleKind,
        limits: Limits,
    ) -> None:
        super().__init__(kind, limits)
        self._storage, self._index = storage, index
        self.distant = storage.distant
        self._numbers = index.numbers(names)
        if (self._numbers < 0).any():
            lost = storage.name(names[int(np.argmax(self._numbers < 0))])
            raise UserError(f"{lost}: the shard is not in {index.place}; {storage.remedy}.")
        counts = index.counts(texts=kind is SampleKind.TEXT)[self._numbers]
        if not counts.all():
            empty = storage.name(names[int(np.argmin(counts))])
            raise UserError(
                f"{empty}: the shard holds no {kind} records; check the path and the names in it."
            )
        self._all_texts = index.counts() == index.counts(texts=True)
        self._ends = np.cumsum(counts)
        self._files: dict[int, Any] = {}
        for number in self._numbers.tolist() if len(names) <= _LOOKED_AT else ():
            try:
                self._file(number)
            except OSError as error:
                raise UserError(
                    f"{self._name(number)}: the shard cannot be read ({error.strerror}); check the path."
                ) from error

    def __len__(self) -> int:
        return int(self._ends[-1])

    def record(self, index: int) -> Record:
        """The record at `index`; raises BadRecordError when a member is missing, too large or elsewhere."""
        shard, row = self._located(index)
        try:
            first = self._index.start(shard) + row
            spans = self._index.spans(first, first + 1)[0]
            stored = _StoredShard(
                self._storage, self._name(shard), self._file(shard), spans, row, self.limits
            )
        except OSError as error:
            origin = Origin(self._name(shard), f"#{row}")
            raise BadRecordError(origin, f"the shard cannot be read ({error.strerror})") from None
        if self.kind is SampleKind.TEXT:
            annotation = stored.annotation("text")
            return Record(stored.origin(), None, annotation)
        picture = stored.member(PICTURE, self.limits.picture_bytes)
        if picture is None:
            raise BadRecordError(stored.origin(), "the picture is missing")
        annotation = {} if self.kind is SampleKind.IMAGE else stored.annotation("caption")
        return Record(stored.origin(), picture, annotation)

    def expect(self, first: int, stop: int) -> None:
        """See `RecordSource.expect`: of each shard, what lies from the first to the last of them."""
        while first < stop:
            turn = int(np.searchsorted(self._ends, first, "right"))
            last = min(stop, int(self._ends[turn])) - 1
            with contextlib.suppress(OSError):  # whoever reads it will say so
                (shard, start), (_, end) = self._located(first), self._located(last)
                before = self._index.start(shard)
                offset, _ = _reach(self._index.spans(before + start, before + start + 1)[0])
                _, behind = _reach(self._index.spans(before + end, before + end + 1)[0])
                if 0 <= offset < behind <= (file := self._file(shard)).size:
                    self._storage.expect(file, offset, behind - offset)
            first = last + 1

    def version(self) -> str:
        """See `RecordSource.version`."""
        table, numbers = self._index, self._numbers.tolist()
        known = zip(table.names, table.sizes.tolist(), table.modified.tolist(), table.samples, strict=True)
        lines = [f"{name} {size} {time} {sample.tobytes().hex()}" for name, size, time, sample in known]
        return "\n".join([str(self.kind), *(lines[number] for number in numbers)])

    def _located(self, index: int) -> tuple[int, int]:
        turn = int(self._ends.searchsorted(index, "right"))
        shard, row = int(self._numbers[turn]), index - (int(self._ends[turn - 1]) if turn else 0)
        if self.kind is SampleKind.TEXT and not self._all_texts[shard]:
            row = int(_texts_among(self._index, shard)[row])
        return shard, row

    def _name(self, shard: int) -> str:
        return self._storage.name(self._index.names[shard])

    def _file(self, shard: int) -> Any:
        if shard not in self._files:
            self._files[shard] = self._storage.file(self._index, shard)
        return self._files[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}


class _StoredShard:
    def __init__(
        self,
        storage: LocalShards | RemoteShards,
        name: str,
        file: Any,
        spans: np.ndarray,
        row: int,
        limits: Limits,
    ) -> None:
        self._storage, self._name, self._file, self._row, self._limits = storage, name, file, row, limits
        self._spans = [unpacked(span) for span in spans.tolist()]
        self._key: str | None = None

    def origin(self) -> Origin:
        for column, (offset, _, _) in enumerate(self._spans):
            if self._key is None and offset > 0:
                with contextlib.suppress(OSError):
                    self._bytes(column, content=0)
        return Origin(self._name, f"#{self._row}" if self._key is None else self._key)

    def annotation(self, text_field: str) -> dict:
        data = self.member(JSON, self._limits.annotation_bytes)
        if data is not None:
            return parse_annotation(data, self.origin())
        data = self.member(TEXT, self._limits.annotation_bytes)
        if data is None:
            raise NoAnnotation(self.origin(), "the JSON or text beside the picture is missing")
        try:
            return {text_field: data.decode("utf-8")}
        except UnicodeDecodeError:
            raise BadRecordError(self.origin(), "the text is not UTF-8") from None

    def member(self, column: int, limit: int) -> bytes | None:
        offset, size, _ = self._spans[column]
        name = _COLUMN_NAMES[column]
        if offset == 0:
            return None
        if size > limit:
            wrong = f"has {size} bytes, more than the limit of {limit}"
            raise BadRecordError(
                self.origin(), f"the {name} {too_many_bytes(size, limit) if column == PICTURE else wrong}"
            )
        try:
            data = self._bytes(column, content=size)
        except OSError as error:
            raise BadRecordError(self.origin(), f"the shard cannot be read ({error.strerror})") from None
        if data is None:
            reason = f"the {name} is not at byte {offset}, where the index has it; {self._storage.remedy}"
            raise BadRecordError(self.origin(), reason)
        return data

    def _bytes(self, column: int, content: int) -> bytes | None:
        offset, size, lead = self._spans[column]
        if not 0 < lead <= offset <= self._file.size - size:
            return None
        data = self._storage.read(self._file, offset - lead, lead + content)
        key = stored_key(data[:lead], size, column)
        self._key = key if self._key is None else self._key
        return data[lead:] if key is not None and key == self._key else None


def _reach(spans: np.ndarray) -> tuple[int, int]:
    """Where a record with some [3, 2] spans begins, headers included, and ends; 0, 0 where it has nothing."""
    members = [(start, size, lead) for start, size, lead in map(unpacked, spans.tolist()) if start]
    begins = [start - lead for start, _, lead in members]
    return min(begins, default=0), max((start + size for start, size, _ in members), default=0)


@lru_cache(maxsize=16)
def _texts_among(index: ShardIndex, shard: int) -> np.ndarray:
    return text_rows(index.spans(index.start(shard), int(index.ends[shard])))
