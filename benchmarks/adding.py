"""How much slower is adding pictures one at a time than all at once?

    python -m benchmarks.adding --pictures 10000 --json FILE

The same pictures (96 pixels, four random squares on a coloured ground, made on the fly) go into two
collections in this process, in turns of 500: into one by a single `Index.add` a turn, into the other by one
call a picture, as an application does. A call returns when its picture is safe. Both times have everything
in them: reading, journal, vectors by the model, rows, and the final `compact`. How often files were joined
is ours to decide, and is in both.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xfm.core.files import write_text
from xfm.search.opening import open_index
from xfm.search.sources import IngestItem

TURN, SIDE = 500, 96


def offers(first: int, count: int) -> Iterator[IngestItem]:
    """Pictures of such numbers."""
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        pixels = np.tile(rng.integers(256, size=3, dtype=np.uint8), (SIDE, SIDE, 1))
        for left, top in rng.integers(SIDE - 24, size=(4, 2)).tolist():
            pixels[top : top + 24, left : left + 24] = rng.integers(256, size=3)
        yield IngestItem(
            f"p{number}", f"p{number}", Image.fromarray(pixels), str(number), {"n": float(number)}
        )


def measured(model: str, count: int) -> dict[str, Any]:
    """Seconds of both ways, their ratio, and the files that they leave."""
    with tempfile.TemporaryDirectory(prefix="xfm-adding-") as folder:
        whole, single = Path(folder) / "whole", Path(folder) / "single"
        seconds = {"at_once": 0.0, "one_by_one": 0.0}
        with open_index(whole, model, make=True) as bulk, open_index(single, model, make=True) as one:
            for first in range(0, count, TURN):
                given = [*offers(first, min(TURN, count - first))]
                began = time.perf_counter()
                bulk.add(given)
                middle = time.perf_counter()
                for offer in given:
                    one.add([offer])
                seconds["at_once"] += middle - began
                seconds["one_by_one"] += time.perf_counter() - middle
            for name, index in (("at_once", bulk), ("one_by_one", one)):
                began = time.perf_counter()
                index.compact()
                seconds[name] += time.perf_counter() - began
            assert len(bulk) == len(one) == count
            files = sum(path.is_file() for path in single.rglob("*"))
        ratio = seconds["one_by_one"] / seconds["at_once"]
        return {"pictures": count, **seconds, "ratio": ratio, "files": files}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--model", default="small")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measured(given.model, given.pictures)
    print(json.dumps(found, indent=1))
    if given.json:
        write_text(given.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
