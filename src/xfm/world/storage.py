"""Files of a world: shards, JSON lines, and the manifest `world.json`."""

import dataclasses
import functools
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict

from xfm.config.world import WorldConfig
from xfm.core.errors import UserError
from xfm.core.files import read_text

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


FORMAT = 1
NAME = "world.json"


class FileEntry(TypedDict):
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class WorldManifest:
    """Origin and content of a world.

    Attributes:
        fingerprint: hash of everything that decides the content.
        config: the resolved configuration.
        packages: versions of the packages of the content; `pillow` decides the pixels.
        objects: name, category, colour and code of every object of a split ("seen", "heldout").
        counts: records of every part.
        files: every shard, JSON-lines file and the tokenizer.
        pictures: number of task pictures, and a hash of their names and contents.
    """

    format: int
    fingerprint: str
    seed: int
    image_size: int
    config: dict[str, Any]
    packages: dict[str, str]
    licences: dict[str, str]
    objects: dict[str, list[dict[str, Any]]]
    heldout_pairs: int
    counts: dict[str, int]
    files: dict[str, FileEntry]
    pictures: dict[str, Any]

    def to_json(self) -> str:
        """The manifest as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def load(cls, folder: Path) -> "WorldManifest":
        """Read `folder`/world.json."""
        path = folder / NAME
        try:
            fields = json.loads(read_text(path))
            manifest = cls(**fields)
        except FileNotFoundError:
            raise UserError(f"{path} does not exist: build the world with `xfm prepare`.") from None
        except (ValueError, TypeError, OSError, RecursionError) as error:
            raise UserError(f"{path} is not a readable manifest ({error}): build the world again.") from None
        if manifest.format != FORMAT:
            raise UserError(
                f"{path} has format {manifest.format}, this version reads {FORMAT}: build it again."
            )
        return manifest

    def missing(self, folder: Path) -> list[str]:
        """Files that are missing or of another size."""
        lacking = [
            name
            for name, entry in self.files.items()
            if not (folder / name).is_file() or (folder / name).stat().st_size != entry["size"]
        ]
        images = folder / "tasks" / "images"
        if not images.is_dir() or len(os.listdir(images)) != self.pictures["count"]:
            lacking.append("tasks/images")
        return lacking


def fingerprint(config: WorldConfig, packages: dict[str, str]) -> str:
    """Hash of everything that decides the content of a world."""
    fields = dataclasses.asdict(config)
    del fields["workers"]
    parts = {"format": FORMAT, "config": fields, "packages": packages, "generator": _generator()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@functools.cache
def _generator() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_text("utf-8").encode())
    return digest.hexdigest()
