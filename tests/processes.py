"""Commands in a session of their own, for tests of what processes do when something goes wrong.

Every process that a command starts carries a mark in its environment, so that those it leaves behind are
found whatever became of their parents.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).parent.parent
XFM = [sys.executable, "-m", "xfm.cli"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
_MARK = "XFM_TEST_MARK"


@dataclass
class Running:
    """A command that runs; as a context it is gone at the end, with everything that it started.

    Args:
        command: with its arguments.
        cwd: where.
        extra: environment variables besides this process's.
    """

    command: Sequence[str]
    cwd: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.mark = uuid.uuid4().hex
        paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        self.process = subprocess.Popen(
            self.command,
            cwd=self.cwd,
            env=environment | {_MARK: self.mark} | dict(self.extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        for left in self.all():
            left.kill()
        self.process.communicate()

    def all(self) -> list[psutil.Process]:
        """The command and everything that it started and that still runs."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def children(self) -> list[psutil.Process]:
        """Everything that the command started and that still runs."""
        return [process for process in self.all() if process.pid != self.process.pid]

    def wait_until(self, condition: Callable[[], object], seconds: float = 120) -> None:
        """Wait for something that happens while the command runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.process.communicate()}")
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    def signal(self, number: int, group: bool = False) -> None:
        """Send a signal to the command, or to all of its session as a terminal or a scheduler does."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def end(self, seconds: float = 120, leaves: float = 30) -> "Ended":
        """Wait for the end of the command, and some time for the end of what it started.

        The time only tells a hang from a machine that has other work: nothing is gained by a short one.

        Raises:
            subprocess.TimeoutExpired: the command, or a process that holds its pipes, goes on.
        """
        out, err = self.process.communicate(timeout=seconds)
        deadline = time.monotonic() + leaves
        while (left := self.all()) and time.monotonic() < deadline:
            time.sleep(0.05)
        names = []
        for process in left:
            try:
                names.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return Ended(self.process.returncode, out, err, names)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: its exit status, minus the number of the signal that killed it.
        out, err: what it wrote.
        left: command lines of the processes that it left behind.
    """

    status: int
    out: str
    err: str
    left: list[str]

    def said(self) -> list[str]:
        """The sentences for the user; a traceback fails."""
        assert "Traceback" not in self.err, self.err
        return [line for line in self.err.splitlines() if line.startswith("xfm: ")]


def run(command: Sequence[str], seconds: float = 120, cwd: Path | None = None, **extra: str) -> Ended:
    """Run a command to its end, within a time."""
    with Running(command, cwd, extra) as running:
        return running.end(seconds)


def killed(running: Running) -> None:
    """End a command as `kill -9` does."""
    running.signal(signal.SIGKILL)
