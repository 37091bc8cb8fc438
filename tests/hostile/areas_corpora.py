"""Corpora whose files are damaged, of another kind, or made to take all memory."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

from tests.corpora.miniature import coco, img2dataset, jpeg
from tests.doctor.planted import bomb
from tests.hostile.situation import ENDLESS, Content, Make, Names, Situation, fifo, folder, loop, sparse

PREPARE = "prepare {} --out out --workers 1 --quiet --from from"
COCO, SBU, TEXT = (PREPARE.format(name) for name in ("coco", "sbu", "text"))
CAPTIONS, INSTANCES = (f"from/annotations/{name}_train2014.json" for name in ("captions", "instances"))


def _coco(path: Path, names: Names) -> None:
    coco(path.parent.parent.parent / "from")
    path.with_name(Path(INSTANCES).name).unlink()  # situations put their own there


def _tar(*members: tuple[str, bytes, int, str]) -> Callable[[Path, Names], None]:
    def make(path: Path, names: Names) -> None:
        img2dataset(path.parent, tars=1)
        with tarfile.open(path, "a") as tar:
            for name, kind, size, target in members:
                info = tarfile.TarInfo(name)
                info.type, info.size, info.linkname = kind, size, target
                tar.addfile(info, io.BytesIO(bytes(size)) if size else None)

    return make


def packed_line(beginning: bytes) -> Make:
    return lambda path, names: path.write_bytes(gzip.compress(beginning + b"x" * 900_000_000, 9))


DOCTOR = "doctor from --quiet --workers 1"
LINES = '{"image": "a.jpg", "captions": ["a dog"]}\n{"image": "b.jpg", "captions": ["a cat"]}\n'
GOOD: dict[str, Content] = {"from/a.jpg": jpeg(1), "from/data.jsonl": LINES}
ANNOTATIONS: dict[str, Content] = {
    "nested": b'{"images": ' + b"[" * 200_000,
    "of-10-gib": sparse(10 << 30, b'{"images": ['),
    "one-text-without-end": b'{"images": ["' + b"x" * 80_000_000,
    "fifo": fifo,
    "device": ENDLESS,
    "loop": loop,
}
NO_KEYS: dict[str, str | None] = {
    **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")),
    "AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/nothing", "AWS_CONFIG_FILE": "/nothing",
}  # fmt: skip
REMOTE = [
    Situation(f"doctor-of-{name}", f"doctor {address} --quiet --workers 1", says=said, env=NO_KEYS)
    for name, address, said in (
        ("a-bucket-without-keys", "s3://bucket/a-*.tar", ("s3://bucket", "credentials")),
        ("another-kind-of-store", "gopher://a/b.tar", ("gopher://a/b.tar",)),
        ("a-port-that-is-none", "https://127.0.0.1:99999/a.tar", ("https://127.0.0.1:99999/a.tar",)),
        ("an-address-with-a-password", "https://me:secret@127.0.0.1:1/a.tar", ("password",)),
    )
]
SITUATIONS = [
    *REMOTE,
    *(
        Situation(f"prepare-coco-{name}", COCO, {CAPTIONS: _coco, INSTANCES: content}, ("instances_train2014.json",))
        for name, content in ANNOTATIONS.items()
    ),
    Situation("prepare-coco-of-an-empty-folder", COCO, {"from": folder}, ("instances_train2014.json",)),
    Situation("prepare-coco-onto-a-file", COCO, {CAPTIONS: _coco, "out": b"mine"}, ("out is a file",)),
    Situation("prepare-coco-onto-other-things", COCO, {CAPTIONS: _coco, "out/notes.txt": b"mine"},
        ("holds no corpus.json",)),
    Situation("prepare-sbu-links-and-devices", SBU, {"from/00000.tar": _tar(
        ("a.jpg", tarfile.SYMTYPE, 0, "/etc/passwd"), ("a.txt", tarfile.LNKTYPE, 0, "../../x"),
        ("b.jpg", tarfile.CHRTYPE, 0, ""), ("c.jpg", tarfile.FIFOTYPE, 0, ""))},
        ("3 of 3 records",), status=(0,), changes=("out",)),
    Situation("prepare-sbu-climbs-out", SBU, {"from/00000.tar": _tar(
        ("../../../tmp/evil.txt", tarfile.REGTYPE, 3, ""), ("/etc/evil.jpg", tarfile.REGTYPE, 3, ""))},
        ("damaged",), status=(0,), changes=("out",)),
    Situation("prepare-sbu-large-texts", SBU, {"from/00000.tar": _tar(
        ("z.jpg", tarfile.REGTYPE, 90_000_000, ""), ("y.json", tarfile.REGTYPE, 9_000_000, ""))},
        ("damaged",), status=(0,), changes=("out",)),
    Situation("prepare-text-bomb", TEXT, {"from/a.jsonl.gz": packed_line(b"")}, ("a.jsonl.gz",)),
    Situation("prepare-text-fifo", TEXT, {"from/a.txt": fifo}, ("a.txt",)),
    Situation("prepare-text-of-10-gib", TEXT, {"from/a.txt": sparse(10 << 30, b"a text\n")}, (), status=(0, 2),
        changes=("out",), seconds=600.0),
    *(
        Situation(f"doctor-picture-{name}", DOCTOR, {**GOOD, "from/b.jpg": content}, ("1 of 2 records",),
            status=(1,), changes=("doctor",))
        for name, content in {"fifo": fifo, "device": ENDLESS, "loop": loop, "folder": folder, "bomb": bomb(),
            "of-10-gib": sparse(10 << 30, jpeg(2))}.items()
    ),
    *(
        Situation(f"doctor-{name}", f"doctor from/{file} --quiet --workers 1", {f"from/{file}": content}, (file,),
            status=status, changes=("doctor",))
        for name, file, content, status in (
            ("lines-nested", "a.jsonl", b'{"text": ' + b"[" * 200_000 + b"\n", (2,)),
            ("lines-fifo", "a.jsonl", fifo, (2,)),
            ("lines-of-10-gib", "a.jsonl", sparse(10 << 30, b'{"text": "a"}\n'), (2,)),
            ("table-bomb", "a.csv.gz", packed_line(b"text\n"), (1, 2)),
            ("table-noise", "a.parquet", bytes(range(256)) * 20, (2,)),
            ("shard-fifo", "a.tar", fifo, (2,)),
            ("shard-links-and-devices", "a.tar", _tar(
                ("a.jpg", tarfile.SYMTYPE, 0, "/etc/passwd"), ("b.jpg", tarfile.CHRTYPE, 0, "")), (1, 2)),
        )
    ),
    Situation("doctor-onto-results", DOCTOR, {**GOOD, "doctor/metrics.json": "{}"}, ("doctor-2",)),
]  # fmt: skip
