"""Inputs read one after the other in a process of their own, which is watched.

A process that reads writes the number of each input before it begins. The kernel ends it where an input takes
too many seconds of a core, or of the clock; what is larger than its address space raises MemoryError. Whoever
started it notes what it died of, and starts another behind that input.
"""

import faulthandler
import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from tests.fuzz.all import TARGETS
from tests.fuzz.target import Target
from xfm.core.errors import UserError

SECONDS, ASLEEP = 10, 120
"""Of a core that an input may take, and of the clock."""
ROOM, GROWTH = 2 << 30, 512 << 20
"""Bytes of addresses that a process may take besides those it begins with, and memory that an input may."""
SEED = 0
_SOURCE = str(Path(sys.modules["xfm"].__file__ or "").parent)


@dataclass(frozen=True)
class Finding:
    """An input that is neither read nor refused.

    Attributes:
        target: name of it.
        number: of the input.
        kind: what it raised or died of, and where, by which the same finding is known again.
        detail: traceback, or the stack at its end.
        data: the file, smaller where a smaller one does the same.
    """

    target: str
    number: int
    kind: str
    detail: str
    data: bytes = field(repr=False, default=b"")


def input_of(target: str, number: int, seed: bytes) -> bytes:
    """The input of a number; 0 is the valid file."""
    rng = random.Random(f"{SEED}/{target}/{number}")
    return seed if number == 0 else TARGETS[target].change(seed, rng)


class Reading:
    """A target in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.target, self.folder = name, TARGETS[name], folder
        folder.mkdir(parents=True)
        self.target.prepare(folder)
        self.file = folder / self.target.file
        self.valid = self.file.read_bytes()
        self._versions = 0

    def put(self, data: bytes) -> None:
        """Replace the file; another one for whoever knows files by their time."""
        self.file.unlink()
        self.file.write_bytes(data)
        self._versions += 1
        os.utime(self.file, ns=(0, 10**18 + self._versions))

    def outcome(self, data: bytes) -> tuple[str, str] | None:
        """What is wrong with how an input is read: by what it is known again, and the traceback."""
        self.put(data)
        _watch(True)
        try:
            self.target.read(self.folder)
        except UserError as error:
            return None if str(error) else ("a refusal without a word", traceback.format_exc())
        except Exception as error:
            return known_by(error), traceback.format_exc(limit=-12)
        except BaseException as error:  # a panic of Rust
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return known_by(error), traceback.format_exc(limit=-12)
        finally:
            _watch(False)
        return None


def known_by(error: BaseException) -> str:
    """The kind of an error and the last line of the package that it passed."""
    lines = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(_SOURCE)]
    where = f" at {lines[-1].filename.removeprefix(_SOURCE)}:{lines[-1].lineno}" if lines else ""
    return f"{type(error).__name__}{where}"


def shrunk(reading: Reading, data: bytes, kind: str, tries: int = 400) -> bytes:
    """A smaller input of the same outcome: parts are left out, from halves to single bytes."""
    size = len(data) // 2
    while size and tries > 0:
        at = 0
        while at < len(data) and tries > 0:
            tries -= 1
            smaller = data[:at] + data[at + size :]
            if (found := reading.outcome(smaller)) is not None and found[0] == kind:
                data = smaller
            else:
                at += size
        size //= 2
    return data


# ---------------------------------------------------------------- in the process that reads
def read_all(names: dict[str, tuple[int, int]], work: Path, told: TextIO) -> None:
    """Read the inputs of some targets, `first` to `stop` - 1 of each; a line of JSON for each finding."""
    tell_stacks()
    tempfile.tempdir = str(work)  # whoever started this process clears it away
    state = os.open(work / "state", os.O_RDWR | os.O_CREAT)
    seen: set[tuple[str, str]] = set()
    for name, (first, stop) in names.items():
        reading = Reading(name, work / name)
        if reading.outcome(reading.valid) is None:
            reading.target.read(reading.folder)  # a valid file is not refused
        _limit_addresses()
        for number in range(first, stop):
            os.pwrite(state, f"{name} {number}\n".ljust(120).encode(), 0)
            data = input_of(name, number, reading.valid)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found = reading.outcome(data)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
            if found is None and grown > GROWTH:
                found = "takes much memory", f"{grown >> 20} MiB more than before"
            if found is not None and (name, found[0]) not in seen:
                seen.add((name, found[0]))
                small = data if grown > GROWTH else shrunk(reading, data, found[0])
                finding = asdict(Finding(name, number, *found)) | {"data": small.hex()}
                print(json.dumps(finding), file=told, flush=True)
    os.pwrite(state, b"done\n".ljust(120), 0)


def tell_stacks() -> None:
    """Let what ends this process show where it was."""
    faulthandler.enable()
    for number in (signal.SIGPROF, signal.SIGALRM):
        faulthandler.register(number, chain=True)


def _watch(on: bool) -> None:
    signal.setitimer(signal.ITIMER_PROF, SECONDS if on else 0)
    signal.setitimer(signal.ITIMER_REAL, ASLEEP if on else 0)


def _limit_addresses() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, -1))


# ---------------------------------------------------------------- outside
def shares(targets: dict[str, Target], inputs: int) -> dict[str, int]:
    """How many inputs each target gets of so many, by their weights."""
    whole = sum(one.weight for one in targets.values())
    return {name: max(1, round(inputs * one.weight / whole)) for name, one in targets.items()}


def findings_in(lines: str) -> Iterator[Finding]:
    """What a process told."""
    for line in lines.splitlines():
        if line.startswith("{"):
            plain = json.loads(line)
            yield Finding(**{**plain, "data": bytes.fromhex(plain["data"])})
