"""Pictures a second that `xfm prepare` shrinks and writes, beside decoding, shrinking and encoding with
Pillow alone.

    python -m benchmarks.preparation [--pictures 400] [--rounds 5] [--json preparation.json]

Both do the same pictures in one process, one after the other in turns, so that what else the machine does
meets both; the figure is the median of the rounds' ratios. The time of a preparation is that of its units:
reading the records of a tar as img2dataset writes them, checking, shrinking, writing the shard, its index
and its marker. `full` decodes at full size before it shrinks, as img2dataset's resizing does; `draft` lets
the decoder shrink, as `xfm prepare` does; `copy` is a preparation that leaves the bytes alone, beside
reading the tar.
"""

import argparse
import io
import json
import platform
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from xfm.config.corpora import CorpusName, PrepareConfig
from xfm.corpora.passes import shards_of
from xfm.corpora.preparation import Preparation, plan_of

LONGEST, QUALITY = 256, 90


@dataclass(frozen=True)
class Line:
    """A comparison: pictures a second of both, and the median ratio of the rounds."""

    name: str
    ours: float
    peer: float
    ratio: float


def write_pictures(path: Path, count: int) -> None:
    """A tar of JPEGs of 640 x 480, with texts, as img2dataset writes it."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            coarse = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            picture = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
            picture.save(buffer, "JPEG", quality=90)
            for name, data in ((f"{number:09d}.jpg", buffer.getvalue()), (f"{number:09d}.txt", b"a picture")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def encoded_with_pillow(path: Path, draft: bool, target: Path) -> None:
    """The same work without anything around it: read, decode, shrink, encode, append to a tar."""
    with tarfile.open(path) as source, tarfile.open(target, "w") as out:
        for member in source:
            if (file := source.extractfile(member)) is None or not member.name.endswith(".jpg"):
                continue
            picture = Image.open(io.BytesIO(file.read()))
            size = (LONGEST, LONGEST * picture.height // picture.width)
            if draft:
                picture.draft(None, size)
            buffer = io.BytesIO()
            picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0 if draft else None).save(
                buffer, "JPEG", quality=QUALITY
            )
            member.size = len(buffer.getvalue())
            out.addfile(member, io.BytesIO(buffer.getvalue()))


def read_alone(path: Path) -> None:
    """The members of a tar, one after the other."""
    with tarfile.open(path) as source:
        for member in source:
            if (file := source.extractfile(member)) is not None:
                file.read()


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compared(
    name: str, pictures: int, rounds: int, ours: Callable[[], None], peer: Callable[[], None]
) -> Line:
    """Both in turns, whoever was first last time second now; one turn of each is not counted."""
    ours()
    peer()
    times: list[tuple[float, float]] = []
    for turn in range(rounds):
        if turn % 2:
            other = seconds(peer)
            times.append((seconds(ours), other))
        else:
            times.append((seconds(ours), seconds(peer)))
    mine, others = (statistics.median(column) for column in zip(*times, strict=True))
    return Line(name, pictures / mine, pictures / others, statistics.median(b / a for a, b in times))


def prepared(source: Path, target: Path, longest: int) -> Callable[[], None]:
    """What writes the shard of the only piece of a corpus."""
    asked = Preparation(CorpusName.CC3M, source, target, PrepareConfig(max_side=longest, workers=1))
    reader = asked.reader()
    units = shards_of(plan_of(asked, reader, asked.mark(reader)))

    def write() -> None:
        units(0)

    return write


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        source = root / "from"
        source.mkdir()
        path = source / "00000.tar"
        write_pictures(path, options.pictures)
        shrinks, copies = prepared(source, root / "small", LONGEST), prepared(source, root / "copy", 0)
        out = root / "pillow.tar"
        cases = [
            ("preparation/full", shrinks, lambda: encoded_with_pillow(path, False, out)),
            ("preparation/draft", shrinks, lambda: encoded_with_pillow(path, True, out)),
            ("preparation/copy", copies, lambda: read_alone(path)),
        ]
        lines = [compared(name, options.pictures, options.rounds, ours, peer) for name, ours, peer in cases]
    print(f"{'':<20} {'xfm':>10} {'alone':>10} {'ratio':>7}   pictures a second and core")
    for line in lines:
        print(f"{line.name:<20} {line.ours:>10.0f} {line.peer:>10.0f} {line.ratio:>7.2f}")
    if options.json:
        found = {
            "machine": platform.processor() or platform.machine(),
            "lines": [asdict(one) for one in lines],
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
