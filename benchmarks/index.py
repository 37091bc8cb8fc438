"""What the saved index of a very large corpus costs: time to open, memory, time to the first positions.

    python benchmarks/index.py [--records 100000000] [--shards 100000] [--folder FOLDER] [--json index.json]

The index is synthetic: written by the real writer, over sparse files that take no room on the disk. Each
figure is that of a fresh process, as a rank has it, less what the same process takes before it opens the
corpus; the file is in the page cache. The records that are read at random lie in one shard that is real,
whose entry all shards of the index have: the others are files of its size, of holes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from benchmarks.loader import SETTINGS, write_corpus

from xfm.data.sources import open_source
from xfm.data.sources.shard_index import INDEX, IndexedShard, index_shard, write_index
from xfm.data.sources.shards import ShardSource

READS = 1000


def write_synthetic(folder: Path, records: int, shards: int) -> None:
    """A folder of sparse shards, the first of which is real, and their index."""
    write_corpus(folder, SETTINGS[0])
    real = folder / "pictures-00000.tar"
    first = index_shard(real)
    first_name = folder / "shard-000000.tar"
    real.rename(first_name)
    each = -(-records // shards)
    spans = np.resize(first.spans, (each, 3, 2))

    def entries() -> Iterator[IndexedShard]:
        left = records
        for number in range(shards):
            name = f"shard-{number:06d}.tar"
            if number:
                with (folder / name).open("wb") as stream:
                    stream.truncate(first.size)
            modified = (folder / name).stat().st_mtime_ns
            count = min(each, left - (shards - number - 1))
            left -= count
            yield IndexedShard(name, first.size, modified, first.sample, spans[:count])

    write_index(folder, entries())


def resident() -> int:
    """Bytes of this process's memory that are its own or read, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rank(folder: Path) -> dict[str, float]:
    """What one process measures."""
    before = resident()
    began = time.perf_counter()
    source = open_source(folder / "*.tar", "image")
    opened = time.perf_counter() - began
    assert isinstance(source, ShardSource)
    rng = np.random.default_rng(0)
    places = rng.integers(0, len(source), READS).tolist()
    began = time.perf_counter()
    for place in places:
        source._index.spans(place, place + 1)
    found = time.perf_counter() - began
    began = time.perf_counter()
    for place in rng.integers(0, min(len(source), SETTINGS[0].pictures), 100).tolist():
        source.read(place)
    read = time.perf_counter() - began
    return {
        "records": len(source),
        "open_s": round(opened, 3),
        "resident_mb": round((resident() - before) / 1e6, 1),
        "positions_us": round(found / READS * 1e6, 1),
        "first_100_pictures_s": round(read, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=100_000_000)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keep the synthetic corpus here, or take it from there")
    parser.add_argument("--times", type=int, default=3, help="processes one after the other")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        print(json.dumps(rank(options.rank)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / INDEX).exists():
            folder.mkdir(parents=True, exist_ok=True)
            began = time.perf_counter()
            write_synthetic(folder, options.records, options.shards)
            size = (folder / INDEX).stat().st_size
            print(f"written in {time.perf_counter() - began:.0f} s: {size:,} bytes")
        command = [sys.executable, "-m", "benchmarks.index", "--rank", str(folder)]
        found = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(options.times)
        ]
    for one in found:
        print(json.dumps(one))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
