"""Wrong readers, for tests of the fuzzer: `python -m tests.fuzz.faulty KIND WORK` reads two inputs."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import running
from tests.fuzz.all import TARGETS
from tests.fuzz.changes import change_bytes
from tests.fuzz.target import Family, Target
from xfm.core.errors import UserError

VALID = b"valid"


def _spins(data: bytes) -> None:
    while data:
        pass


def _sleeps(data: bytes) -> None:
    signal.pause()


def _takes_all(data: bytes) -> None:
    assert bytearray(64 << 30)


def _takes_much(data: bytes) -> None:
    assert bytearray(600 << 20).count(1) == 0


def _dies(data: bytes) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _raises(data: bytes) -> None:
    if b"bad" in data:
        raise KeyError(data)
    if b"refused" in data:
        raise UserError("a: refused; mend it")


KINDS: dict[str, Callable[[bytes], None]] = {
    one.__name__.removeprefix("_"): one for one in (_spins, _sleeps, _takes_all, _takes_much, _dies, _raises)
}


def faulty(kind: str) -> Target:
    """A target whose reader is fine with the valid file alone."""

    def read(folder: Path) -> None:
        if (data := (folder / "a").read_bytes()) != VALID:
            KINDS[kind](data)

    def prepare(folder: Path) -> None:
        (folder / "a").write_bytes(VALID)

    return Target(Family.TABLES, kind, prepare, "a", change_bytes, read)


if __name__ == "__main__":
    if sys.argv[1] == "spins":  # memory alone takes a busy machine longer
        running.SECONDS = 1
    if sys.argv[1] == "sleeps":  # the others would on a machine that has other work
        running.ASLEEP = 1
    TARGETS["own"] = faulty(sys.argv[1])
    running.read_all({"own": (1, 3)}, Path(sys.argv[2]), sys.stdout)
