"""Writes shards, JSON lines and pictures byte for byte the same on every run."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Record = Mapping[str, Any]


def to_json(record: Record) -> str:
    """One line of JSON, keys in the order given."""
    return json.dumps(record, ensure_ascii=True, separators=(", ", ": "))


class ShardWriter:
    """A tar shard in the WebDataset layout; headers hold no time, user or mode of this machine."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._tar = tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT)

    def add(self, name: str, data: bytes) -> None:
        """Append one member."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(data), 0, 0o644
        self._tar.addfile(info, io.BytesIO(data))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.close()


def write_lines(path: Path, records: Iterable[Record]) -> int:
    """Write JSON lines and return their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(to_json(record) + "\n")
            count += 1
    return count
