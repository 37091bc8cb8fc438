"""Which picture files were found whole: by path, size and time of change, in one small file."""

import contextlib
import json
import os
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xfm.errors import UserError
from xfm.files import read_bytes, write_data, writing

_BEGINNING = b"xfm: pictures that were found whole, 1\n"
_MOST_BYTES = 1 << 30  # unpacked: some 20 million pictures
_NEVER = -1
"""The time of change of a file that was not found whole."""


@dataclass
class FolderFiles:
    """Files of a folder.

    Attributes:
        names: sorted, parted by NUL.
        sizes: in bytes, int64.
        times: of change in ns, int64; -1 of what was not found whole.
    """

    names: bytes
    sizes: array  # pyright: ignore[reportMissingTypeArgument]
    times: array  # pyright: ignore[reportMissingTypeArgument]

    @property
    def content(self) -> tuple[bytes, bytes, bytes]:
        """All of it; bytes are compared at once, arrays number by number."""
        return self.names, self.sizes.tobytes(), self.times.tobytes()


class KnownPictures:
    """What is known of the pictures of any number of folders.

    Args:
        limit: of pixels, by which pictures are looked at; what was found under a larger one is forgotten.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._folders: dict[str, FolderFiles] = {}
        self._changed = False

    def of(self, folder: str, names: bytes) -> FolderFiles:
        """What is known of some files of a folder, in their order; of those that are new, nothing."""
        found = self._folders.get(os.path.abspath(folder))
        if found is not None and found.names == names:
            return FolderFiles(names, found.sizes[:], found.times[:])
        listed = names.split(b"\0")
        known = {} if found is None else _by_name(found)
        pairs = [known.get(name, (_NEVER, _NEVER)) for name in listed]
        return _of_pairs(names, pairs)

    def keep(self, folder: str, entry: FolderFiles) -> None:
        """Note what was found out about files of a folder; what is known of its others stays."""
        path = os.path.abspath(folder)
        before = self._folders.get(path)
        if before is not None and before.content == entry.content:
            return
        self._changed = True
        if before is not None and before.names != entry.names:
            merged = sorted((_by_name(before) | _by_name(entry)).items())
            entry = _of_pairs(b"\0".join(name for name, _ in merged), [pair for _, pair in merged])
        self._folders[path] = entry

    # ------------------------------------------------------------ the file
    @classmethod
    def read(cls, places: Sequence[Path], limit: int) -> "KnownPictures":
        """From the first of these files that is there; nothing is known where it is damaged."""
        found = cls(limit)
        for place in places:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, zlib.error, RecursionError):
                found._folders = _unpacked(read_bytes(place, _MOST_BYTES), limit)
                return found
        return found

    def write(self, places: Sequence[Path]) -> None:
        """Into the first of these files that can be written, if anything is new. It is whole or the old one.

        Raises:
            UserError: none of them can be.
        """
        data, refusal = b"", None
        for place in places if self._changed else ():
            try:
                data = data or _packed(self._folders, self._limit)
                with writing(place, "or choose another --out"):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    write_data(place, data)
                return
            except UserError as error:
                refusal = error
        if refusal is not None:
            raise refusal


def _of_pairs(names: bytes, pairs: Sequence[tuple[int, int]]) -> FolderFiles:
    return FolderFiles(
        names, array("q", [size for size, _ in pairs]), array("q", [time for _, time in pairs])
    )


def _by_name(entry: FolderFiles) -> dict[bytes, tuple[int, int]]:
    return dict(zip(entry.names.split(b"\0"), zip(entry.sizes, entry.times, strict=True), strict=True))


def _packed(folders: dict[str, FolderFiles], limit: int) -> bytes:
    """A line of the limit and of the folders with bytes and number of their names; then names and numbers."""
    listed = [[path, len(one.names), len(one.sizes)] for path, one in folders.items()]
    packer = zlib.compressobj(1)
    parts = [_BEGINNING, packer.compress(json.dumps([limit, listed]).encode() + b"\n")]
    for one in folders.values():
        parts += [packer.compress(piece) for piece in one.content]
    return b"".join([*parts, packer.flush()])


def _unpacked(data: bytes, limit: int) -> dict[str, FolderFiles]:
    """The folders, if nothing in them may be larger than the limit allows.

    Raises:
        ValueError: it is not such a file, or says something else than it holds.
    """
    if not data.startswith(_BEGINNING):
        raise ValueError("another beginning")
    reader = zlib.decompressobj()
    body = reader.decompress(data[len(_BEGINNING) :], _MOST_BYTES)
    if not reader.eof or reader.unused_data:
        raise ValueError("it ends elsewhere")
    end = body.index(b"\n")
    found: dict[str, FolderFiles] = {}
    place = end + 1
    before, listed = json.loads(body[:end])
    if before > limit:
        raise ValueError("larger pictures were allowed")
    for path, length, count in listed:
        names = body[place : place + length]
        place += length
        numbers = array("q", body[place : place + 16 * count])
        place += 16 * count
        if names.count(b"\0") + 1 != count or len(numbers) != 2 * count:
            raise ValueError("another number of names")
        found[str(path)] = FolderFiles(names, numbers[:count], numbers[count:])
    return found
