"""Output of img2dataset: tar shards or folders, in which KEY.jpg, KEY.txt and KEY.json lie side by side."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

from xfm.core.errors import UserError
from xfm.core.files import read_bytes
from xfm.corpora.images import by_address
from xfm.corpora.source_record import CorpusReader, Piece, SourceRecord, json_object
from xfm.data.images import byte_limit, too_many_bytes
from xfm.data.records import MAX_ANNOTATION
from xfm.data.sources.base import StoredFile
from xfm.data.sources.tar import PICTURES, key_and_extension, scan_members

_KINDS = {**dict.fromkeys(PICTURES, "picture"), "json": "json", "txt": "text"}
Part = tuple[int, Callable[[], bytes]]
"""Size of a member, and what reads it."""


class Img2DatasetReader(CorpusReader):
    """Pairs of picture and caption from `00000.tar` or folders `00000`, a shard of each."""

    def pieces(self, listings: Path) -> Iterator[Piece]:
        for path in self.inputs():
            yield Piece(path.relative_to(self.source).as_posix(), 0, 0)

    def records(self, piece: Piece, listings: Path) -> Iterator[SourceRecord]:
        """Of a tar that was cut, what is whole is read."""
        path = self.source / piece.file
        flaws: list[str] = []
        try:
            found = _of_folder(path) if path.is_dir() else _of_tar(path, flaws)
            for key, group in groupby(found, lambda one: key_and_extension(one[0])[0]):
                kinds = [(_KINDS.get(key_and_extension(name)[1]), size, read) for name, size, read in group]
                named = [(kind, (size, read)) for kind, size, read in kinds if kind is not None]
                parts = dict(named)
                if parts:
                    yield _record(f"{piece.file}/{key}", parts, twice=len(parts) < len(named))
        except OSError as error:
            flaws.append(f"it cannot be read ({error.strerror})")
        for flaw in flaws:
            yield SourceRecord(piece.file, flaw=flaw.removeprefix(f"{path}: "))

    def inputs(self) -> list[Path]:
        found = sorted(self.source.rglob("*.tar"))
        if not found:
            folders = (path for path in self.source.iterdir() if path.is_dir() and path.name.isdecimal())
            found = sorted(folders) if self.source.is_dir() else []
        if not found:
            told = "give the output folder of img2dataset (--output_format webdataset or files)"
            raise UserError(f"{self.source} holds neither tar files nor folders such as 00000; {told}")
        return found


def _of_tar(path: Path, flaws: list[str]) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, size and content of each member before any damage."""
    file = StoredFile.of(path)
    try:
        for name, offset, size, _ in scan_members(file):
            yield name, size, partial(file.read, offset, size)
    except UserError as error:
        flaws.append(str(error))


def _of_folder(folder: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    for path in sorted(folder.iterdir()):
        try:
            size = path.stat().st_size
        except OSError:
            size = 0  # reading it says why
        yield path.name, size, partial(read_bytes, path, byte_limit())


def _record(name: str, parts: dict[str, Part], twice: bool) -> SourceRecord:
    if twice:
        return SourceRecord(name, flaw="two pictures or texts have this key")
    if "picture" not in parts:
        return SourceRecord(name, flaw="the picture is missing")
    size, read = parts["picture"]
    if size > (limit := byte_limit()):
        return SourceRecord(name, flaw=f"the picture {too_many_bytes(size, limit)}")
    try:
        said = json_object(_small(parts, "json")) if "json" in parts else {}
        caption = said.get("caption")
        if not isinstance(caption, str) or not caption.strip():
            try:
                caption = _small(parts, "text").decode("utf-8") if "text" in parts else ""
            except UnicodeDecodeError:
                raise UserError("the text is not UTF-8") from None
        words = " ".join(caption.split())
        return SourceRecord(name, read(), (words,) if words else (), known_as=by_address(said.get("url")))
    except OSError as error:
        return SourceRecord(name, flaw=f"it cannot be read ({error.strerror})")
    except UserError as error:
        return SourceRecord(name, flaw=str(error))


def _small(parts: dict[str, Part], kind: str) -> bytes:
    size, read = parts[kind]
    if size > MAX_ANNOTATION:
        raise UserError(f"the {kind} {too_many_bytes(size, MAX_ANNOTATION, picture=False)}")
    return read()
