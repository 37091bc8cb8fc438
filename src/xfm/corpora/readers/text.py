"""Plain text: JSON lines, Parquet, JSON lists and lines of text, as of Wikipedia, C4 and OpenWebText."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from xfm.config.corpora import PrepareConfig
from xfm.core.errors import UserError, excerpt
from xfm.corpora.source_record import CorpusReader, Piece, SourceRecord
from xfm.data.records import is_text
from xfm.data.tables.json_list import Line, is_list, json_row, numbered_lines, read_json_records
from xfm.data.tables.parquet import read_footer, read_parquet
from xfm.data.tables.records import RawRow, is_packed, open_stored

_KINDS = (".jsonl", ".ndjson", ".json", ".parquet", ".txt")


class TextReader(CorpusReader):
    """A text a row; files are cut into pieces of `shard_mb`, except compressed ones."""

    needs_text = False

    def __init__(self, source: Path, config: PrepareConfig, column: str) -> None:
        super().__init__(source, config)
        self._column, self._most = column, config.shard_mb << 20
        self._root = source if source.is_dir() else source.parent

    def inputs(self) -> list[Path]:
        if self.source.is_file():
            found = [self.source] if _kind(self.source) else []
        else:
            every = (Path(place) / name for place, _, names in os.walk(self.source) for name in names)
            found = sorted(filter(_kind, every))
        if not found:
            raise UserError(f"{self.source} holds no texts: {', '.join(_KINDS)}, also as .gz; check the path")
        return found

    def pieces(self, listings: Path) -> Iterator[Piece]:
        for path in self.inputs():
            name = path.relative_to(self._root).as_posix()
            if not path.is_file():  # a pipe or a device, which reading names
                yield Piece(name, 0, -1)
            elif _kind(path) == ".parquet":
                start, size = 0, 0
                _, _, sizes, _ = read_footer(path)
                for group, own in enumerate(sizes):
                    if group > start and size + own > self._most:
                        yield Piece(name, start, group)
                        start, size = group, 0
                    size += own
                if sizes:
                    yield Piece(name, start, len(sizes))
            elif is_packed(path) or (_kind(path) == ".json" and is_list(path)):
                yield Piece(name, 0, -1)
            else:
                size = path.stat().st_size
                for start in range(0, size, self._most):
                    yield Piece(name, start, min(size, start + self._most))

    def records(self, piece: Piece, listings: Path) -> Iterator[SourceRecord]:
        """Of a damaged file, what stands before the damage is read."""
        try:
            path = self._root / piece.file
            kind = _kind(path)
            if kind == ".parquet":
                table = read_parquet(path, range(piece.start, piece.stop))
                columns = table.columns or ()
                if self._column not in columns:
                    shown = ", ".join(excerpt(name, 40) for name in columns[:12])
                    told = f"no column {self._column!r}, only {shown}; name it with --columns text=COLUMN"
                    raise UserError(f"{path}: there is {told}")
                for row in table.rows(frozenset([self._column])):
                    yield self._of_row(f"{piece.file}:{piece.start}.{row.number}", row)
            elif kind != ".txt" and piece.stop < 0 and not is_packed(path):
                for row in read_json_records(path).rows(frozenset()):
                    yield self._of_row(f"{piece.file}:{row.number}", row)
            else:
                with open_stored(path, ahead=False) as file:
                    for place, line in _lines(file, piece):
                        name = f"{piece.file}@{place}"
                        yield _of_line(name, line) if kind == ".txt" else self._of_row(name, json_row(line))
        except UserError as error:
            yield SourceRecord(piece.file, flaw=str(error).removeprefix(f"{self._root / piece.file}: "))

    def _of_row(self, name: str, row: RawRow) -> SourceRecord:
        if row.flaw is not None:
            return SourceRecord(name, flaw=row.flaw)
        text = row.cells.get(self._column)
        if not is_text(text):
            what = "is not a text" if self._column in row.cells else "is not there"
            return SourceRecord(name, flaw=f"the field {excerpt(self._column)!r} {what}")
        return SourceRecord(name, text=text)


def _kind(path: Path) -> str | None:
    name = path.name.lower().removesuffix(".gz")
    if path.name.startswith("."):
        return None
    if re.fullmatch(r"wiki_\d+", name):  # of WikiExtractor
        return ".jsonl"
    kind = os.path.splitext(name)[1]
    if kind == ".parquet" and is_packed(path):
        return None
    return kind if kind in _KINDS else None


def _lines(file: BinaryIO, piece: Piece) -> Iterator[tuple[int, Line]]:
    """The lines that begin in a piece, with their byte offsets."""
    if piece.start:  # the line that the piece before has begun is its own
        file.seek(piece.start - 1)
        while (data := file.readline(1 << 20)) and not data.endswith(b"\n"):
            if 0 <= piece.stop <= file.tell():
                return
    begin = file.tell() if piece.start else 0
    for line in numbered_lines(file):
        place = begin + line.read - len(line.data)
        if 0 <= piece.stop <= place:
            return
        yield place, line


def _of_line(name: str, line: Line) -> SourceRecord:
    if line.too_long:
        return SourceRecord(name, flaw="the line is longer than any text that is read")
    try:
        return SourceRecord(name, text=line.text().strip())
    except UnicodeDecodeError:
        return SourceRecord(name, flaw="the line is not UTF-8")
