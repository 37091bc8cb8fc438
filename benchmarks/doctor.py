"""Pictures a minute that `xfm doctor` examines, and the memory that it takes, beside decoding them with
Pillow alone.

    python -m benchmarks.doctor [--pictures 20000] [--workers 2] [--rounds 3] [--json doctor.json]

The pictures are JPEGs of 500 x 375 with captions in tar shards, as `xfm prepare` writes them. The command is
run as a user runs it, in a process of its own: its start, the scan of the shards, the comparison of all
hashes and the page are part of its time. Memory is the most that all of its processes took together, looked
at twenty times a second; it is measured for a quarter of the pictures, too, and must not be much less.
`decode` is the same number of pictures through Pillow at full size in one process, which tells what the
machine can do. The figure to reach is 20,000 pictures a minute on two cores.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

SIZE, SHARD = (500, 375), 1000
WANTED = 20_000


def write_shards(folder: Path, count: int) -> None:
    """Shards of JPEGs of smooth colours with some noise, each another one."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 24, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for start in range(0, count, SHARD):
        with tarfile.open(folder / f"part-{start // SHARD:05d}.tar", "w") as tar:
            for number in range(start, min(start + SHARD, count)):
                coarse = rng.integers(0, 232, (15, 20, 3), dtype=np.uint8)
                picture = np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC))
                buffer = io.BytesIO()
                Image.fromarray(np.minimum(picture, 231) + noise).save(buffer, "JPEG", quality=90)
                told = json.dumps({"captions": [f"a picture of colours, number {number}"]}).encode()
                for name, data in ((f"{number:09d}.jpg", buffer.getvalue()), (f"{number:09d}.json", told)):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def examined(shards: Path, out: Path, workers: int) -> tuple[float, int, int]:
    """Seconds, most bytes of all processes together, and the exit status of the command."""
    command = [sys.executable, "-m", "xfm", "doctor", str(shards), "--out", str(out), "--quiet"]
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(
        [*command, "--workers", str(workers)], stdout=subprocess.DEVNULL, env={**os.environ}
    )
    while process.poll() is None:
        with suppress(psutil.Error):
            family = [(leader := psutil.Process(process.pid)), *leader.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in family))
        time.sleep(0.05)
    return time.perf_counter() - start, peak, process.returncode


def decoded(shards: Path) -> float:
    """Seconds to decode all pictures at full size in this process."""
    start = time.perf_counter()
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".jpg") and (file := tar.extractfile(member)) is not None:
                    Image.open(io.BytesIO(file.read())).load()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root, few = Path(place), max(1, options.pictures // 4)
        write_shards(root / "many", options.pictures)
        write_shards(root / "few", few)
        rounds = [examined(root / "many", root / "out", options.workers) for _ in range(options.rounds)]
        _, small, _ = examined(root / "few", root / "few-out", options.workers)
        alone = decoded(root / "few")
    best = min(seconds for seconds, _, _ in rounds)
    found = {
        "pictures": options.pictures,
        "workers": options.workers,
        "pictures_a_minute": round(60 * options.pictures / best),
        "wanted": WANTED,
        "peak_bytes": max(peak for _, peak, _ in rounds),
        "peak_bytes_of_a_quarter": small,
        "decode_a_minute_and_core": round(60 * few / alone),
        "statuses": [status for _, _, status in rounds],
    }
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
