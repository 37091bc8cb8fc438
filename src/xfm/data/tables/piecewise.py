"""The text of a large file, read piece by piece as far as its reader has come."""

import codecs
from typing import BinaryIO

_SPACE = " \t\r\n"


class PiecewiseText:
    """Text of which no more is held than what stands behind the reader's place.

    Args:
        file: UTF-8, with or without a byte order mark, open at its beginning.
        piece: bytes that are read at a time; more where more is waiting.

    Attributes:
        text: what is held.
        place: of the reader in it.
        passed: characters that are held no more.
        read: bytes that were read.
    """

    def __init__(self, file: BinaryIO, piece: int) -> None:
        self._file, self._piece = file, piece
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self.text, self.place, self.passed, self.read = "", 0, 0, 0
        self._ended = False

    def next(self) -> str:
        """The next character that is no space, which stays where it is; empty at the end of the file."""
        while True:
            while self.place < len(self.text):
                if (found := self.text[self.place]) not in _SPACE:
                    return found
                self.place += 1
            if not self.more():
                return ""

    def more(self) -> bool:
        """Read on, as much again as is waiting; False at the end of the file.

        Raises:
            UnicodeDecodeError: it is no UTF-8.
            OSError: it cannot be read.
        """
        if self._ended:
            return False
        waiting = self.text[self.place :]
        data = self._file.read(max(self._piece, len(waiting)))
        self._ended = not data
        self.read += len(data)
        self.passed += self.place
        self.text, self.place = waiting + self._decode(data, self._ended), 0
        return not self._ended
