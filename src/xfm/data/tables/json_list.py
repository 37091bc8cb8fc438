"""JSON: a list of objects, read one after the other; a file that begins with an object has one a line."""

import codecs
import json
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from xfm.data.records import Limits
from xfm.data.tables.lines import NO_OBJECT, each_once, json_row, numbered_lines
from xfm.data.tables.records import RawRow, Records
from xfm.data.tables.stored import open_stored, stored_size
from xfm.errors import UserError

_PIECE = 1 << 16
_SPACE = " \t\r\n"


def read_json(path: Path) -> Records:
    """A file with a list of objects, numbered from 1, or with an object a line.

    Raises:
        UserError: the file is missing or no file.
    """

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        with open_stored(path) as file:
            begin = file.peek(_PIECE)
            if begin.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
                yield from map(json_row, numbered_lines(file))
            else:
                yield from _Listed(path, file).rows()

    return Records(None, rows, stored_size(path), "B")


class _Listed:
    """A list in a file, of which no more is held than the row at hand.

    Args:
        path: for messages.
        file: open at its beginning.
    """

    def __init__(self, path: Path, file: BufferedReader) -> None:
        self._path, self._file = path, file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._json = json.JSONDecoder(object_pairs_hook=each_once)
        self._text, self._place, self._read, self._ended = "", 0, 0, False

    def rows(self) -> Iterator[RawRow]:
        """The rows; raises UserError where the list is damaged: what stands behind cannot be found."""
        if self._next() != "[":
            raise UserError(
                f"{self._path} holds neither a list of objects nor an object a line; write one of the two"
            )
        self._place += 1
        number, mark = 0, self._next()
        while mark != "]":
            number += 1
            if not mark:
                raise self._damaged(number, "the list has no end")
            yield self._row(number)
            mark = self._next()
            if mark == ",":
                self._place += 1
                mark = self._next()
                if mark == "]":
                    raise self._damaged(number, "a comma stands between it and the end")
            elif mark and mark != "]":
                raise self._damaged(number, "no comma stands between it and the next one")
        self._place += 1
        if self._next():
            raise self._damaged(number, "something stands behind the list")

    def _row(self, number: int) -> RawRow:
        most = Limits().annotation_bytes
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._place)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._place > most:
                    raise self._damaged(
                        number, f"it is longer than {most} bytes, or not valid JSON"
                    ) from None
                if isinstance(error, RecursionError) or not self._more():
                    raise self._damaged(number, f"it is not valid JSON ({error})") from None
                continue
            if end == len(self._text) and not isinstance(value, dict) and self._more():
                continue  # a number may go on
            start, self._place = self._place, end
            if end - start > most:
                flaw = f"the row is longer than {most} characters; mend the row"
                return RawRow(number, read=self._read, flaw=flaw)
            if isinstance(value, dict):
                return RawRow(number, value, self._read)
            return RawRow(number, read=self._read, flaw=NO_OBJECT)

    def _damaged(self, number: int, problem: str) -> UserError:
        return UserError(f"{self._path}:{number}: the row cannot be read: {problem}; mend the file")

    def _next(self) -> str:
        """The next character that is no space, which stays where it is; empty at the end of the file."""
        while True:
            while self._place < len(self._text):
                if (found := self._text[self._place]) not in _SPACE:
                    return found
                self._place += 1
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on, as much again as is waiting; False at the end of the file."""
        if self._ended:
            return False
        waiting = self._text[self._place :]
        data = self._file.read(max(_PIECE, len(waiting)))
        self._read += len(data)
        self._ended = not data
        self._text, self._place = waiting + self._decode(data, self._ended), 0
        return not self._ended
