"""The same targets under Atheris, whose libFuzzer keeps the inputs that reach new lines of the package.

A process for each target: `python -m tests.fuzz --guided`. Inputs are changed as elsewhere, or bytes of
them by libFuzzer. It needs atheris: pip install 'xfm[fuzz]'.
"""

import json
import os
import random
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

CHANGED = 0.7
"""Share of inputs that are changed by what stands in them; libFuzzer changes bytes of the others."""


def read_guided(name: str, first: int, stop: int, work: Path) -> None:
    """Read the inputs `first` to `stop` - 1 of a target; never returns."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["xfm"]):
        from tests.fuzz.changes import change_bytes
        from tests.fuzz.running import SEED, Reading, shrunk, tell_stacks

    tell_stacks()
    tempfile.tempdir = str(work)
    reading, state = Reading(name, work / "files"), os.open(work / "state", os.O_RDWR | os.O_CREAT)
    seeds, kept = work / "seeds", work / "kept"
    seeds.mkdir()
    kept.mkdir()
    (seeds / "valid").write_bytes(reading.valid)
    seen: set[str] = set()
    count = first - 1

    def read(data: bytes) -> None:
        nonlocal count
        count += 1
        os.pwrite(state, f"{name} {count}\n".ljust(120).encode(), 0)
        found = reading.outcome(data)
        if found is not None and found[0] not in seen:
            seen.add(found[0])
            plain = {"target": name, "number": count, "kind": found[0], "detail": found[1]}
            print(json.dumps(plain | {"data": shrunk(reading, data, found[0]).hex()}), flush=True)

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() > CHANGED:
            return atheris.Mutate(data, most)
        try:
            return reading.target.change(data, rng)[:most]
        except Exception:  # what was changed already is no JSON any more, say
            return change_bytes(data, rng)[:most]

    options = [f"-runs={stop - first}", "-max_len=100000", f"-seed={SEED + first}", "-verbosity=0"]
    options += ["-timeout=0", "-rss_limit_mb=4096", f"-artifact_prefix={work}/"]
    atheris.Setup([sys.argv[0], *options, str(kept), str(seeds)], read, custom_mutator=change)
    os.pwrite(state, f"{name} {count}\n".ljust(120).encode(), 0)
    atheris.Fuzz()


if __name__ == "__main__":
    read_guided(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
