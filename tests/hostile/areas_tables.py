"""Tables and pictures that are none, or that were made to take all memory."""

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import Any

from tests.data import picture_kinds
from tests.data.tables.written import write_repeated
from tests.hostile.situation import ENDLESS, Names, Situation, fifo, folder, link, loop, sparse

TUNE = "finetune text-classification --model {model} --steps 1 --out out --quiet --train"
PREDICT = "predict text-classification --model {tuned}/model --out out.jsonl --quiet --input"
EMBED = "predict embed --model {model} --out out.jsonl --quiet --input"
PICTURES = "finetune image-classification --model {model} --steps 1 --out out --quiet --train"


def _each(kind: str) -> list[Situation]:
    file = f"rows.{kind}"
    cases: dict[str, Any] = {
        "empty": b"",
        "zeros": b"\0" * 5000,
        "noise": bytes(range(256)) * 20,
        "fifo": fifo,
        "device": ENDLESS,
        "folder": folder,
        "loop": loop,
    }
    return [
        Situation(f"finetune-{kind.replace('.', '-')}-{name}", f"{TUNE} {file}", {file: content}, (file,))
        for name, content in cases.items()
    ]


def parquet(unit: bytes | str, length: int, rows: int, column: str) -> Any:
    """A file of one value in many rows: `unit` so many times, made when it is written."""
    return lambda path, names: write_repeated(path, unit * length, rows, column)


def one_line(path: Path, names: Names) -> None:
    path.write_bytes(b"text,label\n" + b"x" * 70_000_000)


def packed(unit: bytes, times: int) -> Any:
    return lambda path, names: path.write_bytes(gzip.compress(b"text,label\n" + unit * times, 9))


def shard(name: str, claims: int) -> Any:
    def make(path: Path, names: Names) -> None:
        info = tarfile.TarInfo(name)
        info.size = claims
        path.write_bytes(info.tobuf() + bytes(1024))

    return make


def png(width: int, height: int, rows: int) -> bytes:
    data = zlib.compress(bytes((3 * width + 1) * rows), 9)
    return picture_kinds.png(picture_kinds.size_chunk(width, height), (b"IDAT", data), (b"IEND", b""))


IMAGE_BOMB = {"a.parquet": parquet(b"\0", 40_000_000, 250, "image")}
TEXT_BOMB = {"a.parquet": parquet("x", 40_000_000, 250, "text")}
BOMBS = [
    Situation("predict-parquet-bomb", f"{EMBED} a.parquet", IMAGE_BOMB, ("a.parquet",), seconds=240),
    Situation("finetune-parquet-bomb", f"{PICTURES} a.parquet", IMAGE_BOMB, ("a.parquet",), seconds=240),
    Situation("finetune-parquet-text-bomb", f"{TUNE} a.parquet", TEXT_BOMB, ("a.parquet:1", "text", "40000000")),
    Situation("predict-parquet-page-of-900-mb", f"{EMBED} a.parquet",
        {"a.parquet": parquet(b"\0", 900_000_000, 2, "image")}, ("a.parquet", "memory")),
    Situation("finetune-csv-of-one-line", f"{TUNE} a.csv", {"a.csv": one_line}, ("a.csv",)),
    Situation("finetune-csv-sparse-of-1-tib", f"{TUNE} a.csv", {"a.csv": sparse(1 << 40, b"text,label\na,b\n")},
        ("a.csv",)),
    Situation("finetune-jsonl-sparse-of-1-tib", f"{TUNE} a.jsonl", {"a.jsonl": sparse(1 << 40)}, ("a.jsonl",)),
]  # fmt: skip
JPEG = b"\xff\xd8\xff\xe0" + bytes(200)
BAD_PICTURES: dict[str, Any] = {
    "empty": b"",
    "text": b"hello",
    "claims-60000-squared": png(60_000, 60_000, 1),
    "bomb-of-12000-squared": lambda path, names: path.write_bytes(png(12_000, 12_000, 12_000)),
    "broken-jpeg": JPEG,
    "fifo": fifo,
    "device": ENDLESS,
    "folder": folder,
    "link-out": link("/etc/hostname"),
    "of-1-tib": sparse(1 << 40, b"\xff\xd8\xff\xe0"),
}
IMAGES = [
    Situation(f"predict-picture-{name}", f"{EMBED} a.csv", {"a.csv": "image\np.jpg\n", "p.jpg": content},
        ("p.jpg",))
    for name, content in BAD_PICTURES.items()
] + [
    Situation("predict-picture-elsewhere", f"{EMBED} a.csv", {"a.csv": "image\n../../../../../etc/passwd\n"},
        ("outside",)),
    Situation("predict-folder-of-links-out", f"{EMBED} photos", {"photos/a.jpg": link("/etc/passwd")}, ("a.jpg",)),
    Situation("predict-of-a-book", f"{PREDICT} a.jsonl", {"a.jsonl": '{"text": "' + "word " * 700_000 + '"}\n'},
        ("1 row",), status=(0,)),
]  # fmt: skip
PACKED_TABLES: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "gz-bomb-of-rows": ("a.csv.gz", packed(b"a,b\n", 60 << 20), ("a.csv.gz", "expands to more than")),
    "gz-bomb-of-a-line": ("a.csv.gz", packed(b"x", 300 << 20), ("a.csv.gz",)),
    "tar-claims-a-gib": ("a.tar", shard("a.txt", 1 << 30), ("a.tar", "convert")),
    "json-sparse-of-1-tib": ("a.json", sparse(1 << 40, b"["), ("a.json:1",)),
    "json-of-depth": ("a.json", "[" * 3_000_000, ("a.json:1",)),
}
NEW_KINDS = [
    Situation(f"finetune-{name}", f"{TUNE} {file}", {file: content}, says, seconds=240)
    for name, (file, content, says) in PACKED_TABLES.items()
]  # fmt: skip
KINDS = ("csv", "jsonl", "parquet", "json", "csv.gz", "tar")
SITUATIONS = [*(one for kind in KINDS for one in _each(kind)), *BOMBS, *IMAGES, *NEW_KINDS]
