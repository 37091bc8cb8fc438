"""Tar shards of one folder as a source: an index says where records lie, and what it says is checked.

A shard is looked at when it is first used: its size must be that of the index, and where its time is another
one (a copy, a download) its sampled digest. A member is read together with the header before it, which must
be that of such a member. So neither a stale index nor one made to mislead gives anything but bad records.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from xfm.data.pictures import too_many_bytes
from xfm.data.records import BadRecordError, Limits, Record, SampleKind, parse_annotation
from xfm.data.schema import Origin
from xfm.data.sources.base import FILES, RecordSource, StoredFile, sampled_digest
from xfm.data.sources.shard_index import COMMAND
from xfm.data.sources.shard_table import ShardIndex, numbers_of, records_of
from xfm.data.sources.tar import FAR, JSON, NEAR, PICTURE, TEXT, key_and_extension, stored_name, text_rows
from xfm.errors import UserError

_KNOWN = 8192
"""Shards whose files are known at a time; of others that are met again, size and time are asked again."""
_LOOKED_AT = 1000
"""So many shards are looked at as soon as they are opened."""
_COLUMN_NAMES = {PICTURE: "picture", JSON: "JSON", TEXT: "text"}


class ShardSource(RecordSource):
    """The records of some shards, one shard after the other.

    Args:
        folder: of the shards.
        names: of the shards, in the order in which they are read.
        index: where their records lie; it may know others, too.
        kind: what to read the records as. As text, pictures that have none beside them are no records.
        limits: largest record that is read.

    Raises:
        UserError: a shard is not in the index, holds nothing of the kind, or is not the one that was indexed.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], index: ShardIndex, kind: SampleKind, limits: Limits
    ) -> None:
        super().__init__(kind, limits)
        self.folder = folder
        self._index, self._table = index, index.table
        self._numbers = numbers_of(index.table, names)
        if (self._numbers < 0).any():
            lost = names[int(np.argmax(self._numbers < 0))]
            raise UserError(f"{folder / lost}: the shard is not in {index.place}; {self._remedy}.")
        counts = records_of(index.table, texts=kind is SampleKind.TEXT)[self._numbers]
        if not counts.all():
            empty = folder / names[int(np.argmin(counts))]
            raise UserError(
                f"{empty}: the shard holds no {kind} records; check the path and the names in it."
            )
        self._ends = np.cumsum(counts)
        self._files: OrderedDict[int, StoredFile] = OrderedDict()
        for number in self._numbers.tolist() if len(names) <= _LOOKED_AT else ():
            try:
                self._file(number)
            except OSError as error:
                raise UserError(
                    f"{self._path(number)}: the shard cannot be read ({error.strerror}); check the path."
                ) from error

    def __len__(self) -> int:
        return int(self._ends[-1])

    def record(self, index: int) -> Record:
        """The record at `index`; raises BadRecordError when a member is missing, too large or elsewhere."""
        shard, row = self._located(index)
        try:
            first = self._table.start(shard) + row
            spans = self._index.spans(first, first + 1)[0]
            stored = _Stored(self._file(shard), spans, row, self.limits, self._remedy)
        except OSError as error:
            origin = Origin(str(self._path(shard)), f"#{row}")
            raise BadRecordError(origin, f"the shard cannot be read ({error.strerror})") from None
        if self.kind is SampleKind.TEXT:
            annotation = stored.annotation("text")
            return Record(stored.origin(), None, annotation)
        picture = stored.member(PICTURE, self.limits.picture_bytes)
        if picture is None:
            raise BadRecordError(stored.origin(), "the picture is missing")
        annotation = {} if self.kind is SampleKind.IMAGE else stored.annotation("caption")
        return Record(stored.origin(), picture, annotation)

    def _located(self, index: int) -> tuple[int, int]:
        """The shard's place in the table, and the row in the shard."""
        turn = int(np.searchsorted(self._ends, index, "right"))
        shard, row = int(self._numbers[turn]), index - (int(self._ends[turn - 1]) if turn else 0)
        if self.kind is SampleKind.TEXT and self._table.counts(shard) != self._table.counts(
            shard, texts=True
        ):
            row = int(_texts_among(self._index, shard)[row])
        return shard, row

    def _path(self, shard: int) -> Path:
        return self.folder / self._table.names[shard]

    def _file(self, shard: int) -> StoredFile:
        """The file of a shard; raises OSError where it is gone or not the one that was indexed."""
        file = self._files.get(shard)
        if file is not None:
            self._files.move_to_end(shard)
            return file
        file, table = StoredFile.of(self._path(shard)), self._table
        size = int(table.sizes[shard])
        if file.size != size:
            raise _StaleError(f"it has {file.size} bytes and was indexed with {size}; {self._remedy}")
        if file.modified != table.modified[shard] and sampled_digest(file) != table.samples[shard].tobytes():
            raise _StaleError(f"it was changed after it had been indexed; {self._remedy}")
        self._files[shard] = file
        if len(self._files) > _KNOWN:
            self._files.popitem(last=False)
        return file

    @property
    def _remedy(self) -> str:
        if self._index.place is None:
            return "start again"
        return f"run `{COMMAND} {self.folder}`, or download or prepare the shard again"

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_files": OrderedDict()}


class _Stored:
    """A record whose members are read and checked one by one.

    Args:
        file: its shard.
        spans: [3, 2] int64 of its members.
        row: its number in the shard, by which it is named where it has no key.
        limits: largest record that is read.
        remedy: what to do about an index that is wrong.
    """

    def __init__(self, file: StoredFile, spans: np.ndarray, row: int, limits: Limits, remedy: str) -> None:
        self._file, self._row, self._limits, self._remedy = file, row, limits, remedy
        self._spans: list[list[int]] = spans.tolist()
        self._key: str | None = None

    def origin(self) -> Origin:
        """Shard and key; the key is read where no member has been read yet."""
        for column, (offset, size) in enumerate(self._spans):
            if self._key is None and offset > 0:
                with contextlib.suppress(OSError):
                    self._header(offset, size, column, content=0)
        return Origin(str(self._file.path), f"#{self._row}" if self._key is None else self._key)

    def annotation(self, text_field: str) -> dict:
        """The JSON, or the text as an object with that field."""
        data = self.member(JSON, self._limits.annotation_bytes)
        if data is not None:
            return parse_annotation(data, self.origin())
        data = self.member(TEXT, self._limits.annotation_bytes)
        if data is None:
            raise BadRecordError(self.origin(), "the JSON or text beside the picture is missing")
        try:
            return {text_field: data.decode("utf-8")}
        except UnicodeDecodeError:
            raise BadRecordError(self.origin(), "the text is not UTF-8") from None

    def member(self, column: int, limit: int) -> bytes | None:
        """The bytes of a member; None where the record has none; raises BadRecordError."""
        offset, size = self._spans[column]
        name = _COLUMN_NAMES[column]
        if offset == 0:
            return None
        if size > limit:
            wrong = f"has {size} bytes, more than the limit of {limit}"
            raise BadRecordError(
                self.origin(), f"the {name} {too_many_bytes(size, limit) if column == PICTURE else wrong}"
            )
        try:
            data = self._header(offset, size, column, content=size)
        except OSError as error:
            raise BadRecordError(self.origin(), f"the shard cannot be read ({error.strerror})") from None
        if data is None:
            reason = f"the {name} is not at byte {offset}, where the index has it; {self._remedy}"
            raise BadRecordError(self.origin(), reason)
        return data

    def _header(self, offset: int, size: int, column: int, content: int) -> bytes | None:
        """So many of the member's bytes, None where no such member of this record lies there."""
        if size < 0 or not 0 < offset <= self._file.size - size:
            return None
        for lead in (min(NEAR, offset), min(FAR, offset)):
            data = FILES.read(self._file, offset - lead, lead + content)
            name = stored_name(data[:lead], size, column)
            if name is not None:
                key, _ = key_and_extension(name)
                self._key = key if self._key is None else self._key
                return data[lead:] if key == self._key else None
        return None


class _StaleError(OSError):
    """A shard is not the one that was indexed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.strerror = reason


@lru_cache(maxsize=16)
def _texts_among(index: ShardIndex, shard: int) -> np.ndarray:
    """The rows of a shard that have a JSON or a text."""
    start = index.table.start(shard)
    return text_rows(index.spans(start, start + index.table.counts(shard)))
