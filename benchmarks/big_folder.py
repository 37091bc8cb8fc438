"""A folder of ImageNet's size: how long it takes to open it, to look at its pictures, and to do so again.

    python -m benchmarks.big_folder --folder /tmp/big [--pictures 1300000] [--classes 1000] [--json big.json]

The pictures are links to a few small JPEGs, so that the folder takes no room: hard links, or symbolic ones
with --symbolic. Reads come from memory, so that this measures the program and not a disk. The folder is made
at the first call and stays; each start is a process of its own. MiB are its peak; a helper process adds ten.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

T = TypeVar("T")
SOURCES, KNOWN = 8, "looked-at"


def make(folder: Path, pictures: int, classes: int, symbolic: bool) -> None:
    """`train/` and `val/` of class folders, a twenty-sixth of the pictures in `val/`, as in ImageNet."""
    sources: list[Path] = []
    for number in range(SOURCES):
        sources.append(folder / "sources" / f"{number}.jpg")
        sources[-1].parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((500 - 10 * number, 375)).save(sources[-1], quality=90)
    link = os.symlink if symbolic else os.link
    for split, count in (("train", pictures - pictures // 26), ("val", pictures // 26)):
        for number in range(classes):
            below = folder / split / f"n{number:08d}"
            below.mkdir(parents=True)
            own = count // classes + (number < count % classes)
            for place in range(own):  # a file has 65,000 hard links at most: each class has a copy of one
                name = f"n{number:08d}_{place * 7}.JPEG"
                first = below / f"n{number:08d}_0.JPEG"
                if place == 0:
                    first.write_bytes(sources[number % SOURCES].read_bytes())
                else:
                    link(first, below / name)


def timed(what: str, found: dict[str, float], run: Callable[[], T]) -> T:
    began, used = time.perf_counter(), time.process_time()
    result = run()
    found[what] = time.perf_counter() - began
    found[f"{what}, of it this process"] = time.process_time() - used
    return result


def start(folder: Path) -> None:
    """One start: rows and a look at each picture, as `xfm reproduce imagenet` does before it trains."""
    from xfm.data.picture_check import look_through
    from xfm.reproduce.read.imagenet import read_imagenet
    from xfm.tasks.lazy_rows import files_of
    from xfm.tasks.rows import pictures_of

    found: dict[str, float] = {}
    corpus = timed("rows", found, lambda: read_imagenet(folder))
    splits = [corpus.train, *corpus.scored.values()]
    looked = timed("look", found, lambda: look_through(files_of(splits, pictures_of), [folder / KNOWN]))
    helpers = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["look, of it helpers"] = helpers.ru_utime + helpers.ru_stime
    found["pictures"] = len(corpus.train) + len(corpus.scored["val"])
    found["bad"] = len(looked.bad)
    found["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def started(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.big_folder", "--folder", str(folder), "--start"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the pictures are made")
    parser.add_argument("--pictures", type=int, default=1_300_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--symbolic", action="store_true", help="symbolic links instead of hard ones")
    parser.add_argument("--json", type=Path, help="write the measurements into this file")
    parser.add_argument("--start", action="store_true", help="one start, in this process, as JSON")
    given = parser.parse_args()
    if given.start:
        start(given.folder)
        return
    if not given.folder.exists():
        make(given.folder, given.pictures, given.classes, given.symbolic)
    (given.folder / KNOWN).unlink(missing_ok=True)
    runs = {"first start": started(given.folder), "second start": started(given.folder)}
    kept = (given.folder / KNOWN).stat().st_size / (1 << 20)
    print(
        "| start | pictures | rows | look | processor time, all processes | MiB |\n|---|---|---|---|---|---|"
    )
    for name, one in runs.items():
        used = sum(seconds for what, seconds in one.items() if ", of it" in what)
        seconds = f"{one['rows']:.1f} s | {one['look']:.1f} s | {used:.1f} s"
        print(f"| {name} | {one['pictures']:,.0f} | {seconds} | {one['MiB']:,.0f} |")
    print(f"\nWhat is remembered takes {kept:.1f} MiB. Load of the machine: {os.getloadavg()[0]:.1f}.")
    if given.json is not None:
        given.json.write_text(json.dumps({"runs": runs, "MiB kept": kept, "load": os.getloadavg()}, indent=2))


if __name__ == "__main__":
    main()
