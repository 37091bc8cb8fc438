"""Tables and pictures that are none, or that were made to take all memory."""

import struct
import zlib
from pathlib import Path
from typing import Any

from tests.hostile.situation import ENDLESS, Names, Situation, fifo, folder, link, loop, sparse

TUNE = "finetune text-classification --model {model} --steps 1 --out out --quiet --train"
PREDICT = "predict text-classification --model {tuned}/model --out out.jsonl --quiet --input"
EMBED = "predict embed --model {model} --out out.jsonl --quiet --input"
PICTURES = "finetune image-classification --model {model} --steps 1 --out out --quiet --train"
QUICK = {"finetune-csv-fifo", "predict-parquet-zeros"}


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
        # Nothing to answer is no mistake.
        Situation(whole, f"{command} {file}", {file: content}, status=(0, 2))
        if (whole := f"{verb}-{kind}-{name}") == "predict-jsonl-empty"
        else Situation(whole, f"{command} {file}", {file: content}, (file,), quick=whole in QUICK)
        for verb, command in (("finetune", TUNE), ("predict", PREDICT))
        for name, content in cases.items()
    ]


def parquet(value: bytes | str, rows: int, column: str, **more: Any) -> Any:
    """A file of one value in many rows."""

    def make(path: Path, names: Names) -> None:
        import pyarrow as arrow
        from pyarrow import parquet as files

        values = arrow.array([value])
        cells = arrow.DictionaryArray.from_arrays(arrow.array([0] * rows, arrow.int32()), values)
        table = arrow.table({column: cells, "label": ["a", "b"] * (rows // 2)})
        options = {"compression": "zstd", "write_statistics": False, "dictionary_pagesize_limit": 1 << 30}
        files.write_table(table, path, **(options | more))

    return make


def png(width: int, height: int, rows: int) -> bytes:
    """A PNG that claims a size; its rows are black."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes((3 * width + 1) * rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


IMAGE_BOMB = {"a.parquet": parquet(b"\0" * 40_000_000, 250, "image")}
TEXT_BOMB = {"a.parquet": parquet("x" * 40_000_000, 250, "text")}
BOMBS = [
    Situation("predict-parquet-bomb", f"{EMBED} a.parquet", IMAGE_BOMB, ("a.parquet",), quick=True, seconds=240),
    Situation("finetune-parquet-bomb", f"{PICTURES} a.parquet", IMAGE_BOMB, ("a.parquet",), seconds=240),
    Situation("probe-parquet-bomb", "probe {model} --train a.parquet --test a.parquet --out out", IMAGE_BOMB,
        ("picture",), seconds=240),
    Situation("zero-shot-parquet-bomb", "zero-shot {model} --test a.parquet --out out", IMAGE_BOMB, ("picture",),
        seconds=240),
    Situation("finetune-parquet-text-bomb", f"{TUNE} a.parquet", TEXT_BOMB, ("a.parquet:1", "text", "40000000")),
    Situation("predict-parquet-text-bomb", f"{PREDICT} a.parquet", TEXT_BOMB, ("a.parquet:1", "40000000")),
    Situation("predict-parquet-page-of-900-mb", f"{EMBED} a.parquet",
        {"a.parquet": parquet(b"\0" * 900_000_000, 2, "image")}, ("a.parquet", "page")),
    Situation("finetune-csv-of-one-line", f"{TUNE} a.csv", {"a.csv": b"text,label\n" + b"x" * 70_000_000}, ("a.csv",)),
    Situation("finetune-csv-sparse-of-1-tib", f"{TUNE} a.csv", {"a.csv": sparse(1 << 40, b"text,label\na,b\n")},
        ("a.csv",)),
    Situation("predict-csv-sparse-of-1-tib", f"{PREDICT} a.csv", {"a.csv": sparse(1 << 40, b"text,label\na,b\n")},
        ("a.csv",), changes=("out.jsonl",)),
    Situation("finetune-jsonl-sparse-of-1-tib", f"{TUNE} a.jsonl", {"a.jsonl": sparse(1 << 40)}, ("a.jsonl",)),
    Situation("predict-jsonl-deep", f"{PREDICT} a.jsonl", {"a.jsonl": "[" * 100_000}, ("a.jsonl:1",)),
    Situation("finetune-jsonl-deep", f"{TUNE} a.jsonl", {"a.jsonl": "[" * 100_000}, ("a.jsonl:1",)),
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
        ("p.jpg",), quick=name == "bomb-of-12000-squared")
    for name, content in BAD_PICTURES.items()
] + [
    Situation(f"finetune-picture-{name}", f"{PICTURES} a.csv",
        {"a.csv": "image,label\n" + "p.jpg,a\np.jpg,b\n" * 5, "p.jpg": content}, ("p.jpg",))
    for name, content in BAD_PICTURES.items()
] + [
    Situation("predict-picture-elsewhere", f"{EMBED} a.csv", {"a.csv": "image\n../../../../../etc/passwd\n"},
        ("outside",)),
    Situation("predict-picture-absolute", f"{EMBED} a.csv", {"a.csv": "image\n/etc/passwd\n"}, ("outside",)),
    Situation("predict-folder-without-pictures", f"{EMBED} photos", {"photos/a.txt": "a"}, ("photos",)),
    Situation("predict-folder-of-links-out", f"{EMBED} photos", {"photos/a.jpg": link("/etc/passwd")}, ("a.jpg",)),
    Situation("finetune-one-class", f"{TUNE} a.csv", {"a.csv": "text,label\n" + "a,b\n" * 20}, ("a.csv",)),
    Situation("finetune-one-row", f"{TUNE} a.csv", {"a.csv": "text,label\na,b\n"}, ("a.csv",)),
    Situation("finetune-missing-column", f"{TUNE} a.csv", {"a.csv": "words,label\na,b\n"}, ("text", "words")),
    Situation("finetune-unknown-kind", f"{TUNE} a.xlsx", {"a.xlsx": "PK"}, ("a.xlsx",)),
    Situation("predict-unknown-kind", f"{PREDICT} a.xlsx", {"a.xlsx": "PK"}, ("a.xlsx",)),
    Situation("finetune-ragged-csv", f"{TUNE} a.csv", {"a.csv": "text,label\na,b\na,b,c\n"}, ("a.csv:3",)),
    Situation("finetune-half-quote", f"{TUNE} a.csv", {"a.csv": 'text,label\n"a,b\n'}, ("a.csv",)),
    Situation("finetune-utf-16", f"{TUNE} a.csv", {"a.csv": "text,label\na,b\n".encode("utf-16")}, ("a.csv",)),
    Situation("predict-of-a-book", f"{PREDICT} a.jsonl", {"a.jsonl": '{"text": "' + "word " * 700_000 + '"}\n'},
        ("1 row",), status=(0,)),
]  # fmt: skip
SITUATIONS = [*_each("csv"), *_each("jsonl"), *_each("parquet"), *BOMBS, *IMAGES]
