"""Units of work for tests of executors: files that say who wrote them last."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from xfm.core.errors import UserError
from xfm.executors.executor import Executor
from xfm.executors.sharded_map import PLAN, ShardedMap


@dataclass
class SquareMark:
    """The number that was squared."""

    number: int


@dataclass(frozen=True)
class Squares:
    """Writes the square of each number, and who has which GPUs.

    Attributes:
        wrong: a number that is refused.
        deadly: a number that kills its process, the first `deaths` times.
        deaths: how often.
        slow: a number that takes two minutes.
    """

    wrong: int | None = None
    deadly: int | None = None
    deaths: int = 1000
    slow: int | None = None

    def __call__(self, number: int, stem: Path) -> SquareMark:
        if number == self.wrong:
            raise UserError(f"number {number} is wrong; leave it out")
        if number == self.deadly and len([*stem.parent.glob("death-*")]) < self.deaths:
            (stem.parent / f"death-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.slow:
            time.sleep(120)
        stem.with_suffix(".txt").write_text(str(number * number))
        stem.with_suffix(".gpu").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
        return SquareMark(number)


def squares(folder: Path, count: int, function: Squares | None = None) -> ShardedMap[SquareMark]:
    """Units in a folder that is planned."""
    (folder / PLAN).mkdir(parents=True, exist_ok=True)
    return ShardedMap(folder, "made", count, SquareMark, function or Squares())


def done(executor: Executor, units: ShardedMap[SquareMark]) -> list[int]:
    """The numbers of which an executor told that they were done, in order."""
    told: list[int] = []

    def tell(number: int, mark: SquareMark) -> None:
        assert mark == SquareMark(number)
        told.append(number)

    assert units.run(executor, "squares", False, tell) or executor.is_array_task
    return sorted(told)
