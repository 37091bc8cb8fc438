"""Readers of shards: tar, the index beside them, members, weights beside them."""

import json
from functools import partial
from pathlib import Path

from tests.corpora.miniature import jpeg, write, write_tar
from tests.fuzz.binaries import change_index, change_tar
from tests.fuzz.changes import change_bytes, change_json, change_text
from tests.fuzz.target import Family, Target
from xfm.config.corpora import PrepareConfig
from xfm.core.errors import UserError
from xfm.corpora.doctor.records import SourceData
from xfm.corpora.readers.img2dataset import Img2DatasetReader
from xfm.data.records import BadRecordError, SampleKind
from xfm.data.sources import open_source
from xfm.data.sources.shard_index import index_folder

SHARD = "00000.tar"
SIZE = (24, 16)


def members(count: int = 2) -> list[tuple[str, bytes]]:
    """Pictures with captions and regions, and one with a text."""
    found = []
    for number in range(count):
        region = {"phrase": "a red part", "box": [1, 2, 12, 9.5]}
        said = {
            "id": f"a/{number}",
            "captions": ["a picture", "seen again"],
            "regions": [region],
            "text": "a text",
        }
        found += [
            (f"{number:03d}.jpg", jpeg(number, SIZE)),
            (f"{number:03d}.json", json.dumps(said).encode()),
        ]
    return [*found, ("900.jpg", jpeg(9, SIZE)), ("900.txt", b"only said")]


def write_shard(folder: Path) -> None:
    write_tar(folder / SHARD, members())


def write_indexed(folder: Path) -> None:
    """Two shards with the index beside them."""
    write_shard(folder)
    write_tar(folder / "00001.tar", members(1))
    index_folder(folder, sorted(folder.glob("*.tar")), progress=False)


def read_records(folder: Path, kind: SampleKind) -> int:
    """All records; how many were no good."""
    source, bad = open_source(folder, kind), 0
    for number in range(len(source)):
        try:
            source.read(number)
        except BadRecordError:
            bad += 1
    return bad


def read_both_kinds(folder: Path) -> None:
    """As regions and as texts: what refuses one kind must not keep from the other."""
    refused = []
    for kind in (SampleKind.REGION, SampleKind.TEXT):
        try:
            read_records(folder, kind)
        except UserError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def read_doctor(folder: Path) -> None:
    """As `xfm doctor` does."""
    data = SourceData(str(folder), SampleKind.REGION)
    for part in data.parts():
        assert [*data.records(part)]


def read_downloaded(folder: Path) -> None:
    """As img2dataset writes them."""
    reader = Img2DatasetReader(folder, PrepareConfig())
    for piece in reader.pieces(folder):
        for record in reader.records(piece, folder):
            record.to_line(Path("listings")) if record.flaw else record.name


def _member(name: str, content: bytes, folder: Path) -> None:
    write(folder / "file" / name, content)


def _packed(name: str, kind: SampleKind, folder: Path) -> None:
    """A shard with a member as it lies beside the shard."""
    changed = (folder / "file" / name).read_bytes()
    (folder / "shards").mkdir(exist_ok=True)
    others = [(one, changed if one.endswith(Path(name).suffix) else data) for one, data in members(1)]
    write_tar(folder / "shards" / SHARD, others)
    read_records(folder / "shards", kind)


def _of_member(name: str, content: bytes, change, kind: SampleKind) -> Target:
    prepare, read = partial(_member, name, content), partial(_packed, name, kind)
    return Target(Family.SHARDS, f"member{Path(name).suffix}", prepare, f"file/{name}", change, read)


TARGETS = (
    Target(Family.SHARDS, "tar", write_shard, SHARD, change_tar, read_both_kinds, 3),
    Target(Family.SHARDS, "tar-doctor", write_shard, SHARD, change_tar, read_doctor),
    Target(Family.SHARDS, "tar-img2dataset", write_shard, SHARD, change_tar, read_downloaded, 2),
    Target(Family.SHARDS, "index", write_indexed, "index.xfm", change_index, read_both_kinds, 3),
    Target(Family.SHARDS, "tar-indexed", write_indexed, SHARD, change_tar, partial(read_records,
        kind=SampleKind.PAIR), 2),
    _of_member("a.json", members()[1][1], change_json, SampleKind.REGION),
    _of_member("a.txt", b"some words\nof a caption", change_text, SampleKind.PAIR),
    _of_member("a.jpg", jpeg(1, SIZE), change_bytes, SampleKind.IMAGE),
)  # fmt: skip
