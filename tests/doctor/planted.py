"""Data sets in which some things are wrong, each of them known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.corpora.miniature import jpeg, write, write_tar
from tests.data.picture_kinds import saved
from xfm.config.corpora import DoctorConfig
from xfm.corpora.doctor.examination import examine
from xfm.corpora.doctor.report import Diagnosis

SIZE = (120, 90)


def cut(seed: int, share: float = 0.6) -> bytes:
    data = jpeg(seed, SIZE)
    return data[: int(len(data) * share)]


def flat(colour: int = 128) -> bytes:
    return saved(Image.new("RGB", SIZE, (colour, colour, colour)), "JPEG")


def bomb() -> bytes:
    data = bytearray(saved(Image.new("L", (8, 8)), "PNG"))
    data[16:24] = (40_000).to_bytes(4, "big") + (40_000).to_bytes(4, "big")
    return bytes(data)


def write_lines(folder: Path, rows: Sequence[tuple[bytes | None, Mapping[str, Any]]]) -> Path:
    """JSON lines with their pictures beside them; a row without bytes names a picture that is not there."""
    lines = []
    for number, (picture, fields) in enumerate(rows):
        name = f"{number}.jpg"
        if picture is not None:
            write(folder / name, picture)
        lines.append(json.dumps({"image": name, **fields}))
    return write(folder / "data.jsonl", "\n".join(lines) + "\n")


def write_shards(folder: Path, rows: Sequence[tuple[bytes, Mapping[str, Any]]], size: int = 3) -> Path:
    for start in range(0, len(rows), size):
        members = []
        for number, (picture, fields) in enumerate(rows[start : start + size], start):
            members += [(f"{number:06d}.jpg", picture), (f"{number:06d}.json", json.dumps(fields).encode())]
        write_tar(folder / f"part-{start // size:05d}.tar", members)
    return folder


def good(seed: int, **fields: Any) -> tuple[bytes, dict[str, Any]]:
    return jpeg(seed, SIZE), {"captions": [f"a smooth picture of colours, number {seed}"], **fields}


def boxed(*boxes: object) -> dict[str, Any]:
    return {"regions": [{"phrase": f"part {place}", "box": box} for place, box in enumerate(boxes)]}


def examined(path: Path, out: Path | None = None, columns: str = "", **settings: Any) -> Diagnosis:
    config = DoctorConfig(**{"workers": 1, **settings})
    return examine(path, out or path.parent / "doctor", config, columns)


def counts(found: Diagnosis) -> dict[str, tuple[int, int]]:
    return {finding.value: (found.parts[finding], found.records[finding]) for finding in found.parts}
