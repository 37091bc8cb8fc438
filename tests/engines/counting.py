"""Units of work for tests of engines: files that say who wrote them last."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from xfm.engines.base import Executor, missing
from xfm.errors import UserError


@dataclass(frozen=True)
class Squares:
    """Writes the square of each number into a folder.

    Attributes:
        folder: of the files.
        wrong: a number that is refused.
        deadly: a number that kills its process, the first `deaths` times.
        deaths: how often.
    """

    folder: Path
    wrong: int | None = None
    deadly: int | None = None
    deaths: int = 1000

    def path(self, number: int) -> Path:
        return self.folder / f"{number}.txt"

    def is_made(self, number: int) -> bool:
        return self.path(number).exists()

    def make(self, number: int) -> None:
        if number == self.wrong:
            raise UserError(f"number {number} is wrong; leave it out")
        if number == self.deadly and len([*self.folder.glob("death-*")]) < self.deaths:
            (self.folder / f"death-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.path(number).write_text(str(number * number))


def done(engine: Executor, units: Squares, count: int) -> list[int]:
    """The numbers of which an engine told that they were made, in order."""
    told: list[int] = []
    engine.run(units, missing(units, count), told.append)
    return sorted(told)


@dataclass(frozen=True)
class Devices(Squares):
    """Writes which GPUs its process was given."""

    def make(self, number: int) -> None:
        self.path(number).write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
