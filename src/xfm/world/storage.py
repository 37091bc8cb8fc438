"""Files of a world: shards, JSON lines, and the manifest `world.json`."""

import dataclasses
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfm.config.world import WorldConfig
from xfm.core.errors import UserError
from xfm.executors.sharded_map import read_record

Record = Mapping[str, Any]


def to_json(record: Record) -> str:
    """One line of JSON, keys in the order given."""
    return json.dumps(record, ensure_ascii=True, separators=(", ", ": "))


class ShardWriter(tarfile.TarFile):
    """A tar shard in the WebDataset layout; headers hold no time, user or mode of this machine."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, "w", format=tarfile.USTAR_FORMAT)

    def write(self, name: str, data: bytes) -> None:
        """Append one member."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(data), 0, 0o644
        self.addfile(info, io.BytesIO(data))


FORMAT = 1
NAME = "world.json"


@dataclass(frozen=True)
class WorldManifest:
    """Origin and content of a world: hash of everything that decides the content; the resolved configuration;
    versions of the packages of the content, of which `pillow` decides the pixels; name, category, colour and
    code of every object of a split ("seen", "heldout"); records of every part; size in bytes and SHA-256 of
    every shard, JSON-lines file and the tokenizer; number of task pictures, and a hash of their names and
    contents."""

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
    files: dict[str, dict[str, Any]]
    pictures: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> "WorldManifest":
        """Read `folder`/world.json; raises UserError."""
        return read_record(folder / NAME, cls, "build the world again with `xfm prepare`")

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


def require_own(folder: Path, manifest: str, content: Collection[str], what: str) -> bool:
    """Whether a folder holds anything. UserError for a file, and for a folder of more than a `manifest` and
    the `content` of `what`, which making it anew would remove."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: choose a folder for the {what}")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set[str]()
    if names and manifest not in names:
        raise UserError(
            f"{folder} is not empty and holds no {manifest}: choose another folder for the {what}"
        )
    if others := sorted(names - {manifest, *content}):
        raise UserError(
            f"{folder} holds {others[0]} beside the {what}, which making it anew would remove: move that "
            "elsewhere, or choose another folder"
        )
    return bool(names)


def fingerprint(config: WorldConfig, packages: dict[str, str]) -> str:
    """Hash of everything that decides the content of a world."""
    fields = dataclasses.asdict(config)
    del fields["workers"]
    generator = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        generator.update(path.name.encode() + path.read_text("utf-8").encode())
    parts = {"format": FORMAT, "config": fields, "packages": packages, "generator": generator.hexdigest()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
