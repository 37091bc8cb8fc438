"""JSON: a list of objects, read one after the other; a file that begins with an object has one a line."""

import codecs
import json
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from xfm.data.records import Limits
from xfm.data.tables.lines import NO_OBJECT, each_once, json_row, numbered_lines
from xfm.data.tables.piecewise import PiecewiseText
from xfm.data.tables.records import RawRow, Records
from xfm.data.tables.stored import open_stored, stored_size
from xfm.errors import UserError

_PIECE = 1 << 16


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


class _Listed(PiecewiseText):
    def __init__(self, path: Path, file: BufferedReader) -> None:
        super().__init__(file, _PIECE)
        self._path, self._json = path, json.JSONDecoder(object_pairs_hook=each_once)

    def rows(self) -> Iterator[RawRow]:
        """The rows; raises UserError where the list is damaged: what stands behind cannot be found."""
        if self.next() != "[":
            raise UserError(
                f"{self._path} holds neither a list of objects nor an object a line; write one of the two"
            )
        self.place += 1
        number, mark = 0, self.next()
        while mark != "]":
            number += 1
            if not mark:
                raise self._damaged(number, "the list has no end")
            yield self._row(number)
            mark = self.next()
            if mark == ",":
                self.place += 1
                mark = self.next()
                if mark == "]":
                    raise self._damaged(number, "a comma stands between it and the end")
            elif mark and mark != "]":
                raise self._damaged(number, "no comma stands between it and the next one")
        self.place += 1
        if self.next():
            raise self._damaged(number, "something stands behind the list")

    def _row(self, number: int) -> RawRow:
        most = Limits().annotation_bytes
        while True:
            try:
                value, end = self._json.raw_decode(self.text, self.place)
            except (ValueError, RecursionError) as error:
                if len(self.text) - self.place > most:
                    raise self._damaged(
                        number, f"it is longer than {most} bytes, or not valid JSON"
                    ) from None
                if isinstance(error, RecursionError) or not self.more():
                    raise self._damaged(number, f"it is not valid JSON ({error})") from None
                continue
            if end == len(self.text) and not isinstance(value, dict) and self.more():
                continue  # a number may go on
            start, self.place = self.place, end
            if end - start > most:
                flaw = f"the row is longer than {most} characters; mend the row"
                return RawRow(number, read=self.read, flaw=flaw)
            if isinstance(value, dict):
                return RawRow(number, value, self.read)
            return RawRow(number, read=self.read, flaw=NO_OBJECT)

    def _damaged(self, number: int, problem: str) -> UserError:
        return UserError(f"{self._path}:{number}: the row cannot be read: {problem}; mend the file")
