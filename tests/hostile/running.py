"""A command as a real process in a session of its own, watched until nothing of it is left."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MEMORY = 4 << 30
"""Bytes that all processes of a command may take together."""
MARK = "XFM_HOSTILE_MARK"
"""Environment variable by which processes are found again, whoever became their parent."""
_EVERY, _GRACE = 0.05, 3.0


@dataclass
class Running:
    """A command that is under way.

    Attributes:
        process: of its leader.
        output: file that gets its output and its errors.
        here: the folder that it runs in.
        mark: value of MARK in its environment.
        peak: most bytes of its processes together so far.
    """

    process: "subprocess.Popen[bytes]"
    output: Path
    here: Path
    mark: str
    peak: int = 0
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    def members(self) -> Iterator[psutil.Process]:
        """Processes of the command that are alive, those among them that left its session included."""
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                mine = one.pid in self.seen or os.getsid(one.pid) == self.process.pid
                if (mine or one.environ().get(MARK) == self.mark) and one.status() != psutil.STATUS_ZOMBIE:
                    self.seen[one.pid] = one
                    yield one

    def family(self) -> list[psutil.Process]:
        """The leader and its descendants."""
        with contextlib.suppress(psutil.Error):
            leader = psutil.Process(self.process.pid)
            return [leader, *leader.children(recursive=True)]
        return []

    def measure(self) -> None:
        """Bring `peak` up to date."""
        total = 0
        for one in self.family():
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
        self.peak = max(self.peak, total)

    def wait_until(self, reached: Callable[[], object], seconds: float = 60.0) -> bool:
        """Wait for something, while the command runs; whether it came."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self.measure()
            if reached():
                return True
            time.sleep(_EVERY)
        return bool(reached())

    def says(self, text: str) -> Callable[[], bool]:
        """Whether the output has a text by now."""
        return lambda: text.encode() in self.output.read_bytes()

    def send(self, number: int) -> None:
        """Send a signal to the leader."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def send_to_all(self, number: int) -> None:
        """Send a signal to the whole group, as a terminal does at Ctrl-C."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@dataclass(frozen=True)
class Ending:
    """How a command ended.

    Attributes:
        status: as `subprocess` has it, negative for a signal; None where it had to be killed.
        seconds: that it ran.
        peak: most bytes of all its processes together.
        output: all that it printed.
        left: command lines of processes that outlived it.
        why: why it was killed.
    """

    status: int | None
    seconds: float
    peak: int
    output: str
    left: tuple[str, ...] = ()
    why: str = ""


def run(
    arguments: Sequence[str],
    here: Path,
    output: Path,
    env: Mapping[str, str | None],
    shell: str | None = None,
    during: Callable[[Running], None] | None = None,
    seconds: float = 120.0,
) -> Ending:
    """Run `xfm` with arguments until it ends, or until it has taken too long or too much.

    Args:
        arguments: after `xfm`.
        here: folder to run in.
        output: file for what it prints.
        env: variables that differ from this process's; None takes one away.
        shell: script that runs the command as `"$@"`.
        during: called while the command runs.
        seconds: that it may take.
    """
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    variables: dict[str, str] = {**os.environ, "OMP_NUM_THREADS": "1", MARK: mark}
    for name, value in env.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    command = [sys.executable, "-m", "xfm.cli", *arguments]
    if shell is not None:
        command = ["bash", "-c", shell, "hostile", *command]
    began = time.monotonic()
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=here,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # What runs in the background of a shell ignores Ctrl-C, and its children would, too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    running = Running(process, output, here, mark)
    why = ""
    try:
        try:
            if during is not None:
                during(running)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            why = str(error)
        why = why or _watch(running, began + seconds)
        status = process.poll() if not why else None
        took = time.monotonic() - began
        left = _left(running)
    finally:
        for one in [*running.members()]:
            with contextlib.suppress(psutil.Error):
                one.kill()
        process.wait()
    return Ending(status, took, running.peak, output.read_text("utf-8", "replace"), left, why)


def _watch(running: Running, end: float) -> str:
    """Wait for the end; the reason not to wait longer, or nothing."""
    while running.process.poll() is None:
        running.measure()
        if running.peak > MEMORY:
            return f"it took more than {MEMORY >> 30} GiB"
        if time.monotonic() > end:
            return "it did not end in time"
        time.sleep(_EVERY)
    return ""


def _left(running: Running) -> tuple[str, ...]:
    """Command lines of what outlived the leader; workers have a moment to notice that it is gone."""
    end = time.monotonic() + _GRACE
    while time.monotonic() < end:
        if running.process.poll() is None or not [*running.members()]:
            break
        time.sleep(_EVERY)
    found = []
    for one in running.members():
        with contextlib.suppress(psutil.Error):
            if one.pid != running.process.pid:
                found.append(" ".join(one.cmdline())[:120] or one.name())
    return tuple(found)


def interrupt(text: str, number: int = signal.SIGINT, group: bool = True) -> Callable[[Running], None]:
    """Send a signal once the output has a text (at once for an empty one)."""

    def act(running: Running) -> None:
        if running.wait_until(running.says(text)):
            (running.send_to_all if group else running.send)(number)

    return act
