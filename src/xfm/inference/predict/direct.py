"""Rows that stand in no table: the fields of one input, a picture, standard input."""

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from xfm.config.task_spec import Field, Holds
from xfm.data.pictures import PictureError, picture_size, read_picture
from xfm.data.records import Limits
from xfm.data.tables.lines import Line, json_row, numbered_lines
from xfm.data.tables.records import RawRow
from xfm.errors import UserError
from xfm.inference.items import example
from xfm.inference.predict.reading import InputRow, Reading, RowSource, known_head


class OneRow(RowSource):
    """One input; its number is 1.

    Args:
        given: its fields.
    """

    total = 1

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The row, unless it is answered."""
        if after < 1:
            yield InputRow(1, "", self.given, {}, 1)

    def known_by(self) -> dict[str, Any]:
        """The input itself."""
        return {"given": dict(self.given)}

    @property
    def files(self) -> list[Path]:
        """Files that the input may name."""
        return [Path(value) for value in self.given.values() if isinstance(value, str) and "\0" not in value]


def is_picture_file(path: Path) -> bool:
    """Whether a file is a picture by its name or by what it holds."""
    if (mimetypes.guess_type(path.name)[0] or "").startswith("image/"):
        return True
    try:
        picture_size(read_picture(path))
    except PictureError:
        return False
    return True


def alone(fields: Sequence[Field]) -> list[Field]:
    """The fields of which one can be an input by itself."""
    required = [field for field in fields if not field.optional]
    return [field for field in required or fields if len(required) < 2 and not field.parts]


class StandardInput(RowSource):
    """JSON lines, or lines that are the only field of an input; the first line tells which of the two.

    A row's number is its line.

    Args:
        file: standard input.
        reading: how rows are read; paths of pictures start from the working folder.

    Attributes:
        form: what is read, in words.
        plain: the field that a line is; None of JSON lines.

    Raises:
        UserError: there are no rows, or none of the two forms fits.
    """

    name = Path("standard input")

    def __init__(self, file: BinaryIO, reading: Reading) -> None:
        reading.columns.check_fields(reading.fields)
        self.reading = reading
        self._rest = numbered_lines(file)
        self._head = list(islice(self._rest, 1))
        if not self._head:
            raise UserError(f"{self.name} holds no rows; give {example(reading.fields)}, one a line")
        if self._head[0].too_long:  # it may have no end, as /dev/zero
            limit = Limits().annotation_bytes >> 20
            raise UserError(f"{self.name}: the first line is longer than {limit} MiB; give one input a line")
        self._head += islice(self._rest, 1)
        is_json = self._head[0].data.lstrip(b"\xef\xbb\xbf \t").startswith(b"{")
        fitting = [] if is_json else alone(reading.fields)
        if not is_json and not fitting:
            raise UserError(f"{self.name}: give JSON lines such as {example(reading.fields)}")
        self.plain = fitting[0] if fitting else None
        kind = "JSON lines"
        if self.plain is not None:
            what = "lines of text" if self.plain.holds is Holds.TEXT else "paths of pictures"
            kind = f"{what}, one input a line"
        self.form = kind

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The rows on lines beyond `after`, as they come."""
        for line in chain(self._head, self._rest):
            if line.number > after:
                yield self.reading.row(self.name, self._raw(line))

    def _raw(self, line: Line) -> RawRow:
        if self.plain is None:
            return json_row(line)
        try:
            cells, flaw = {self.plain.name: line.text().strip("\r\n")}, None
        except UnicodeDecodeError:
            cells, flaw = {}, "the line is not UTF-8; mend it"
        if line.too_long:
            flaw = "the line is longer than any row may be; mend it"
        return RawRow(line.number, cells, line.read, flaw)

    def known_by(self) -> dict[str, Any]:
        """The first two rows, as of a file."""
        return known_head(str(self.name), b"".join(line.data for line in self._head))
