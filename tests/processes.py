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
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from tests.forking import Forked, can_fork

ROOT = Path(__file__).parent.parent
XFM = [sys.executable, "-m", "xfm"]
REAL_TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
TORCHRUN = REAL_TORCHRUN if os.environ.get("XFM_TEST_FRESH") else [sys.executable, "-m", "tests.launching"]
"""Starts so many processes of a script, or of a module, as torchrun does."""
HOLD = [
    sys.executable,
    "-c",
    "import sys, time\n"
    "from pathlib import Path\n"
    "from xfm.core.locks import locked\n"
    "with locked(Path(sys.argv[1]), beside=len(sys.argv) > 2):\n"
    "    Path(sys.argv[1] + '.ready').touch()\n"
    "    time.sleep(100)\n",
]
"""Holds the folder that is given until it is killed; makes FOLDER.ready once it does."""
_MARK = "XFM_TEST_MARK"


@dataclass
class Running:
    """A command that runs; as a context it is gone at the end, with everything that it started."""

    command: Sequence[str]
    cwd: Path | None = None
    extra: Mapping[str, str | None] = field(default_factory=dict)
    output: Path | None = None
    fresh: bool = False

    def __enter__(self) -> Self:
        self.mark = uuid.uuid4().hex
        paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        variables |= {_MARK: self.mark, **self.extra}
        self.environment = {name: value for name, value in variables.items() if value is not None}
        self.process: Forked | subprocess.Popen[str]
        with self.output.open("wb") if self.output else nullcontext(subprocess.PIPE) as stream:
            if not self.fresh and can_fork(self.command, self.extra):
                self.process = Forked(self.command, self.cwd, self.environment, stream)
                return self
            self.process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT if self.output else stream,
                text=True,
                start_new_session=True,
                # What runs in the background of a shell ignores Ctrl-C, and its children would, too.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        return self

    def __exit__(self, *exception: object) -> None:
        for left in self.all():
            with suppress(psutil.Error):
                left.kill()
        self.process.communicate()

    def all(self) -> list[psutil.Process]:
        """The command and everything that it started and that still runs, in its session or not."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                mine = os.getsid(process.pid) == self.process.pid or process.environ().get(_MARK) == self.mark
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def children(self) -> list[psutil.Process]:
        return [process for process in self.all() if process.pid != self.process.pid]

    def left(self, seconds: float) -> list[str]:
        """Command lines of what outlives the command; it has some seconds to notice that it is alone."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is not None and self.children() and time.monotonic() < deadline:
            time.sleep(0.05)
        names = []
        for process in self.children():
            with suppress(psutil.Error):
                names.append(" ".join(process.cmdline())[:120] or process.name())
        return names

    def wait_until(self, condition: Callable[[], object], seconds: float = 120) -> object:
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.process.communicate()}")
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)
        return True

    def signal(self, number: int, group: bool = False) -> None:
        """Send a signal to the command, or to all of its session as a terminal or a scheduler does."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    def lose(self, lost: psutil.Process, other: psutil.Process) -> None:
        """Kill a process of torchrun, and wait until another one has ended of itself.

        torchrun stands still meanwhile: where the machine is busy, it would stop the other one first.
        """
        self.signal(signal.SIGSTOP)
        lost.kill()
        self.wait_until(lambda: not other.is_running() or other.status() == psutil.STATUS_ZOMBIE, 600)
        self.signal(signal.SIGCONT)

    def end(self, seconds: float = 120, leaves: float = 30) -> "Ended":
        """Wait for the end of the command, and some time for the end of what it started.

        The time only tells a hang from a machine that has other work: nothing is gained by a short one.

        Raises:
            subprocess.TimeoutExpired: the command, or a process that holds its pipes, goes on.
        """
        out, err = self.process.communicate(timeout=seconds)
        return Ended(self.process.returncode, out, err, self.left(leaves))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str
    left: list[str]

    def said(self) -> list[str]:
        assert "Traceback" not in self.err, self.err
        return [line for line in self.err.splitlines() if line.startswith("xfm: ")]


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def can_unshare() -> bool:
    """Whether a command may have name spaces of its own: as root, in containers not always."""
    return not subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode


def limited(gib: int, code: str, *arguments: object) -> str:
    words = ["bash", "-c", f'ulimit -v {gib << 20}; exec "$@"', "-", sys.executable, "-c", code]
    done = run([*words, *map(str, arguments)])
    assert not done.status, done.err[-2000:]
    return done.out


def run(
    command: Sequence[str],
    seconds: float = 120,
    cwd: Path | None = None,
    fresh: bool = False,
    **extra: str | None,
) -> Ended:
    with Running(command, cwd, extra, fresh=fresh) as running:
        return running.end(seconds)
