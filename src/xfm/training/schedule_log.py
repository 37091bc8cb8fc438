"""`schedule.csv` of a run folder: share, time and phase of every step, written as the run goes."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from xfm.errors import UserError
from xfm.files import read_text, write_text
from xfm.training.clock import Moment

SCHEDULE, REPLAYED = "schedule.csv", "replayed.csv"
"""What a run did; what a replay is to do, copied from the run that it follows."""
MAX_SCHEDULE = 1 << 30


class ScheduleFile:
    """The file of a run that begins or goes on.

    Args:
        folder: of the run.
        kept: moments of the steps that were done, and of the one that is next; later lines are cut.
    """

    def __init__(self, folder: Path, kept: Sequence[Moment]) -> None:
        write_text(folder / SCHEDULE, written(kept))
        self._file = (folder / SCHEDULE).open("a", encoding="utf-8")

    def write(self, step: int, moment: Moment) -> None:
        """Append a step, so that it is there whatever happens to the process."""
        self._file.write(_line(step, moment))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def written(moments: Sequence[Moment]) -> str:
    """The content of a file."""
    lines = [_line(step, moment) for step, moment in enumerate(moments)]
    return "".join([",".join(("step", *Moment._fields)) + "\n", *lines])


def _line(step: int, moment: Moment) -> str:
    return f"{step},{moment.share!r},{moment.seconds:.3f},{moment.phase}\n"


def read_schedule(path: Path) -> list[Moment]:
    """The moments of a file, as far as it is whole; none where no text can be read."""
    found: list[Moment] = []
    try:
        lines = read_text(path, MAX_SCHEDULE).splitlines()
    except (OSError, ValueError):
        return found
    for line in lines[1:]:
        try:
            step, share, seconds, phase = line.split(",")
            moment = Moment(float(share), float(seconds), int(phase))
            whole = int(step) == len(found) and 0 <= moment.share <= 1 and moment.phase >= 0
        except ValueError:
            break
        if not whole or not math.isfinite(moment.seconds):
            break
        found.append(moment)
    return found


def read_finished(path: Path) -> list[Moment]:
    """The moments of a run from its first step to its end.

    Args:
        path: the file.

    Raises:
        UserError: it is missing or damaged, or the run has not ended.
    """
    record = read_schedule(path)
    if not record:
        raise UserError(f"{path} is missing or damaged: put it back, or name another run of `xfm pretrain`")
    if record[-1].share < 1:
        raise UserError(
            f"{path} ends at step {len(record) - 1}, {record[-1].share:.0%} of the run: finish that with "
            "--resume before it is replayed"
        )
    return record


def phase_starts(record: Sequence[Moment]) -> list[int]:
    """The steps that begin another phase than the step before; the end of the run begins none."""
    steps = enumerate(pairwise(record), start=1)
    return [step for step, (before, now) in steps if now.phase != before.phase and now.share < 1]
