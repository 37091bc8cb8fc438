"""Large JSON files, of which no more is held than the item at hand.

Annotations are published as one object, whose fields are lists of a million items, or as one such list.
Files of gigabytes are read in some megabytes of memory, at the speed of Python's own decoder.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from xfm.data.tables.piecewise import PiecewiseText
from xfm.data.tables.stored import open_stored
from xfm.errors import UserError

_PIECE = 1 << 20
_LONGEST = 256 << 20
"""Characters of an item at most: one of the longest published has a few million."""
_NEAR = 16
"""Characters before the end of what is read at which a number, a word or an escape may have been cut."""


def listed_items(path: Path, *names: str) -> Iterator[tuple[str, Any]]:
    """The items of lists in a JSON file, each with the name of its list; other fields are passed over.

    Args:
        path: of a `.json`, or `.json.gz`.
        names: fields of the object whose lists are read; none where the file is a list itself, whose name is
            "".

    Raises:
        UserError: the file is missing or damaged, or is no such object or list.
    """
    with open_stored(path) as file:
        text = _Text(path, file)
        if not names:
            text.expect("[", "a list")
            for item in _items(text):
                yield "", item
            return
        text.expect("{", "an object")
        while text.next() != "}":
            name = text.value()
            text.expect(":", "a colon")
            if isinstance(name, str) and name in names and text.next() == "[":
                text.expect("[", "a list")
                for item in _items(text):
                    yield name, item
            else:
                text.skip()
            if text.next() == ",":
                text.expect(",", "a comma")
            elif text.next() != "}":
                raise text.damaged("a comma is missing between two fields")


def is_list(path: Path) -> bool:
    """Whether a JSON file begins with a list."""
    with open_stored(path, ahead=False) as file:
        return file.peek(_PIECE).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def _items(text: "_Text") -> Iterator[Any]:
    while text.next() != "]":
        yield text.value()
        if text.next() == ",":
            text.expect(",", "a comma")
        elif text.next() != "]":
            raise text.damaged("a comma is missing between two items")
    text.expect("]", "the end of the list")


class _Text(PiecewiseText):
    def __init__(self, path: Path, file: BinaryIO) -> None:
        super().__init__(file, _PIECE)
        self._path, self._scan = path, json.JSONDecoder().raw_decode

    def damaged(self, problem: str) -> UserError:
        place = self.passed + self.place
        return UserError(f"{self._path} is damaged near character {place} ({problem}); copy it again")

    def expect(self, character: str, what: str) -> None:
        """Go past a character.

        Raises:
            UserError: something else stands there.
        """
        if self.next() != character:
            raise self.damaged(f"{what} is missing")
        self.place += 1

    def value(self) -> Any:
        """The next value.

        Raises:
            UserError: there is none.
        """
        self.next()
        while True:
            try:
                value, end = self._scan(self.text, self.place)
            except RecursionError:
                raise self.damaged("it is nested too deeply") from None
            except json.JSONDecodeError as error:
                # Of what only goes on, the decoder stops at its end, or names where a text begins.
                goes_on = error.pos > len(self.text) - _NEAR or error.msg.startswith("Unterminated")
                if not goes_on or len(self.text) - self.place > _LONGEST or not self.more():
                    raise self.damaged(error.msg) from None
                continue
            if end == len(self.text) and not isinstance(value, dict | list | str) and self.more():
                continue  # a number may go on
            self.place = end
            return value

    def skip(self) -> None:
        """Go past the next value; a list is passed over item by item."""
        if self.next() != "[":
            self.value()
            return
        self.expect("[", "a list")
        for _ in _items(self):
            pass

    def more(self) -> bool:
        """See `PiecewiseText.more`.

        Raises:
            UserError: the file is damaged.
        """
        try:
            return super().more()
        except UnicodeDecodeError as error:
            raise UserError(f"{self._path} is not UTF-8 ({error.reason}); copy it again") from None
        except OSError as error:
            raise UserError(f"{self._path} is damaged ({error}); copy it again") from None
