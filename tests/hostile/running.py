"""A command as a real process in a session of its own, watched until nothing of it is left."""

import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.hostile.situation import Names, Situation
from tests.processes import XFM, Running

MEMORY = 4 << 30
"""Bytes that all processes of a command may take together."""
_EVERY, _GRACE = 0.05, 3.0


@dataclass
class Watched(Running):
    """A command that is under way; `peak` is the most bytes of its processes together so far."""

    peak: int = 0

    def family(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            leader = psutil.Process(self.process.pid)
            return [leader, *leader.children(recursive=True)]
        return []

    def measure(self) -> None:
        total = 0
        for one in self.family():
            with suppress(psutil.Error):
                total += one.memory_info().rss
        self.peak = max(self.peak, total)

    def wait_until(self, condition: Callable[[], object], seconds: float = 60.0) -> object:
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self.measure()
            if condition():
                return True
            time.sleep(_EVERY)
        return condition()

    def has(self, name: str) -> Callable[[], object]:
        return lambda: [*(self.cwd or Path()).glob(name)]

    def says(self, text: str) -> Callable[[], bool]:
        return lambda: self.output is not None and text.encode() in self.output.read_bytes()


@dataclass(frozen=True)
class Ending:
    """How a command ended."""

    status: int | None
    seconds: float
    peak: int
    output: str
    left: tuple[str, ...] = ()
    why: str = ""


def run(situation: Situation, names: Names, here: Path, output: Path) -> Ending:
    """Run the command of a situation in a folder, until it ends or has taken too long or too much."""
    command = [*XFM, *situation.arguments(names)]
    if situation.shell is not None:
        command = ["bash", "-c", situation.shell, "hostile", *command]
    began, why = time.monotonic(), ""
    with Watched(command, here, situation.env, output) as running:
        try:
            if situation.during is not None:
                situation.during(running)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            why = str(error)
        why = why or _watch(running, began + situation.seconds)
        status = running.process.poll() if not why else None
        took = time.monotonic() - began
        left = running.left(_GRACE)
    return Ending(status, took, running.peak, output.read_text("utf-8", "replace"), tuple(left), why)


def _watch(running: Watched, end: float) -> str:
    while running.process.poll() is None:
        running.measure()
        if running.peak > MEMORY:
            return f"it took more than {MEMORY >> 30} GiB"
        if time.monotonic() > end:
            return "it did not end in time"
        time.sleep(_EVERY)
    return ""


def interrupt(text: str, number: int = signal.SIGINT, group: bool = True) -> Callable[[Watched], None]:
    def act(running: Watched) -> None:
        if running.wait_until(running.says(text)):
            running.signal(number, group)

    return act
