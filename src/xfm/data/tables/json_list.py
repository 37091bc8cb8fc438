"""JSON files of any size, of which no more is held than the item at hand: tables, and published annotations.

At the speed of Python's own decoder.
"""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from xfm.config.tables import table_kind
from xfm.core.errors import UserError, explained
from xfm.core.files import open_regular, reading
from xfm.core.sandbox import ParsingError, parsed
from xfm.data.records import MAX_ANNOTATION
from xfm.data.tables.records import RawRow, Records, open_stored, stored_size

NO_OBJECT = "the row is not a JSON object; mend the row"


@dataclass(frozen=True)
class Line:
    """A line that is not blank: number from 1, bytes, bytes read up to its end, whether it was cut."""

    number: int
    data: bytes
    read: int
    too_long: bool

    def text(self) -> str:
        """The line as UTF-8; raises UnicodeDecodeError."""
        return self.data.decode("utf-8-sig" if self.number == 1 else "utf-8")


def numbered_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines that are not blank; of one that is cut, the rest is read when the next is asked for."""
    limit, read, number = MAX_ANNOTATION, 0, 0
    while data := file.readline(limit + 1):
        number += 1
        read += len(data)
        too_long = len(data) > limit and not data.endswith(b"\n")
        if too_long or data.strip():
            yield Line(number, data, read, too_long)
        while too_long and (data := file.readline(limit)):
            read += len(data)
            too_long = not data.endswith(b"\n")


def json_row(line: Line) -> RawRow:
    """The row of a JSON line."""
    values: Any = {}
    flaw = f"the row is longer than {MAX_ANNOTATION} bytes; mend the row" if line.too_long else None
    try:
        values = {} if line.too_long else json.loads(line.text())
    except UnicodeDecodeError as error:
        flaw = f"the row is not UTF-8 ({error.reason}); save the file as UTF-8"
    except (ValueError, RecursionError) as error:
        flaw = f"the row is not valid JSON ({error}); mend the row"
    if not isinstance(values, dict):
        values, flaw = {}, NO_OBJECT
    return RawRow(line.number, values, line.read, flaw)


_PIECE = 1 << 16
_LONGEST = 256 << 20
"""Characters of a published item at most: one of the longest has a few million."""
_NEAR = 16
"""Characters before the end of what is read at which a number, a word or an escape may have been cut."""


def read_json_records(path: Path) -> Records:
    """A file with a list of objects, numbered from 1, or with an object a line. Raises UserError."""

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        with open_stored(path) as file:
            listed = table_kind(path) == ".json" and _begin(file) == b"["
            yield from _listed_rows(path, file) if listed else map(json_row, numbered_lines(file))

    return Records(None, rows, stored_size(path), "B")


def _listed_rows(path: Path, file: BufferedReader) -> Iterator[RawRow]:
    most, number = MAX_ANNOTATION, 0
    text = _Text(file, most)
    try:
        for value in text.items():
            number += 1
            flaw = None if isinstance(value, dict) else NO_OBJECT
            if text.length > most:
                flaw = f"the row is longer than {most} characters; mend the row"
            yield RawRow(number, {} if flaw else value, text.read, flaw)
        text.expect("", "the end of the file")
    except UnicodeDecodeError:
        raise
    except ValueError as error:  # what stands behind cannot be found
        raise UserError(f"{path}:{number + 1}: the row cannot be read: {error}; mend the file") from None


def listed_items(path: Path, *names: str) -> Iterator[tuple[str, Any]]:
    """The items of lists in a `.json` or `.json.gz`, each with the field that names its list ("" where the
    file is a list itself); other fields are passed over. Raises UserError."""
    with open_stored(path) as file:
        text = _Text(file, _LONGEST)
        try:
            yield from text.fields(names) if names else (("", item) for item in text.items())
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            place = text.passed + text.place
            raise UserError(f"{path} is damaged near character {place} ({error}); copy it again") from None


def is_list(path: Path) -> bool:
    """Whether a JSON file begins with a list."""
    with open_stored(path, ahead=False) as file:
        return _begin(file) == b"["


def _begin(file: BufferedReader) -> bytes:
    return file.peek(_PIECE).removeprefix(codecs.BOM_UTF8).lstrip()[:1]


class _Text:
    def __init__(self, file: BufferedReader, longest: int) -> None:
        self._file, self._longest, self._scan = file, longest, json.JSONDecoder().raw_decode
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self.text, self.place, self._ended = "", 0, False
        self.passed = self.read = self.length = 0  # characters, bytes, characters of the last value

    def next(self) -> str:
        while True:
            while self.place < len(self.text):
                if (found := self.text[self.place]) not in " \t\r\n":
                    return found
                self.place += 1
            if not self._more():
                return ""

    def expect(self, characters: str, what: str) -> str:
        if (found := self.next()) not in [*characters] and characters + found:
            raise ValueError(f"{what} is missing" if found else "it has no end")
        self.place += len(found)
        return found

    def value(self) -> Any:
        self.next()
        while True:
            try:
                value, end = self._scan(self.text, self.place)
            except RecursionError:
                raise ValueError("it is nested too deeply") from None
            except json.JSONDecodeError as error:
                # Of what only goes on, the decoder stops at its end, or names where a text begins.
                goes_on = error.pos > len(self.text) - _NEAR or error.msg.startswith("Unterminated")
                waiting = len(self.text) - self.place
                if goes_on and waiting > self._longest:
                    raise ValueError(f"it is longer than {self._longest} characters") from None
                if not goes_on or not self._more():
                    problem = f"it is not valid JSON: {error.msg}" if waiting else "it has no end"
                    raise ValueError(problem) from None
                continue
            if end == len(self.text) and not isinstance(value, dict | list | str) and self._more():
                continue  # a number may go on
            self.length, self.place = end - self.place, end
            return value

    def parts(self, kind: str, marks: str) -> Iterator[None]:
        self.expect(marks[0], kind)
        if self.next() == marks[1]:
            self.place += 1
            return
        yield
        while self.expect("," + marks[1], f"a comma or the end of the {kind.split()[1]}") == ",":
            yield

    def items(self) -> Iterator[Any]:
        return (self.value() for _ in self.parts("a list", "[]"))

    def fields(self, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for _ in self.parts("an object", "{}"):
            name = self.value()
            self.expect(":", "a colon")
            if self.next() == "[":
                yield from ((name, item) for item in self.items() if name in names)
            else:
                self.value()

    def _more(self) -> bool:
        if self._ended:
            return False
        waiting = self.text[self.place :]
        data = self._file.read(max(_PIECE, len(waiting)))
        self._ended = not data
        self.read += len(data)
        self.passed += self.place
        self.text, self.place = waiting + self._decode(data, self._ended), 0
        return not self._ended


def read_plain_pickle(path: Path) -> Any:
    """Lists, mappings, texts and numbers of a published pickle (RefCOCO's), of which nothing is run."""
    with reading(path):
        open_regular(path).close()
    flaw = f"{path}: not a pickle of plain lists and dictionaries, so that it is not loaded"
    with explained(flaw, "download the official file again", ParsingError):
        [data] = parsed("xfm.data.parsers:plain_pickle", str(path))
    return json.loads(data)
