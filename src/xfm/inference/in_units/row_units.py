"""The answering of rows, a unit of work each: a run of rows becomes part files and a marker beside them."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xfm.engines.whole import folder_mark
from xfm.errors import UserError, printable
from xfm.files import MAX_LOG, read_text, write_data, write_text, writing
from xfm.inference.base import Pipeline
from xfm.inference.in_units.part_files import Answered, PartForm, part_files
from xfm.inference.in_units.row_work import RowWork
from xfm.inference.predict.answering import answered_rows
from xfm.inference.predict.reading import CutRows, InputRow
from xfm.inference.threads import one_thread

NAMES = "names.json"
_AGAIN = "and run the same command again: it goes on where it stopped"


@dataclass
class RowMark:
    """What a unit has done: the marker beside its part.

    Attributes:
        answered: rows.
        partial: rows that were answered by a picture of which a part only could be decoded.
        bad: number, place and flaw of the rows that could not be answered.
    """

    answered: int = 0
    partial: int = 0
    bad: list[tuple[int, str, str]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the marker."""
        write_text(path, json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, path: Path) -> "RowMark":
        """Read a marker; raises UserError."""
        try:
            told = json.loads(read_text(path, MAX_LOG))
            bad = [(int(number), str(place), str(reason)) for number, place, reason in told["bad"]]
            return cls(int(told["answered"]), int(told["partial"]), bad)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); remove it, and run the command again") from None


@dataclass(frozen=True)
class RowUnits:
    """Answers each run of rows; see `xfm.engines.base.Units`.

    Attributes:
        work: what is answered.
        plan: folder of what was planned, which holds the names of a folder's pictures.
        made: folder of what units leave.
        starts: number of the first row of each unit.
        form: of the part files.
    """

    work: RowWork
    plan: Path
    made: Path
    starts: tuple[int, ...]
    form: PartForm

    def marker(self, number: int) -> Path:
        """The marker of a unit."""
        return self.made / f"{number:06d}.json"

    def part(self, number: int, suffix: str) -> Path:
        """A part file of a unit."""
        return self.made / f"{number:06d}.part{suffix}"

    def is_made(self, number: int) -> bool:
        """Whether the marker is there, which is written last."""
        return self.marker(number).exists()

    def make(self, number: int) -> None:
        """Answer a run of rows.

        Raises:
            UserError: the model or the rows cannot be read, or the folder cannot be written.
        """
        if not self.plan.is_dir():
            raise UserError(
                f"{self.plan} is not there: what is read and written must be seen by all machines that work "
                "on it under the same paths"
            )
        pipe, rows = _opened(self)
        mark, answers = RowMark(), list[Answered]()

        def skip(row: InputRow, reason: str) -> bool:
            mark.bad.append((row.number, printable(row.place), printable(reason)))
            return True

        last = self.starts[number + 1] if number + 1 < len(self.starts) else None
        with one_thread(pipe.engine.device):
            for row, answer, warning in answered_rows(
                pipe, rows.part(self.starts[number], last), self.work.options, skip, None
            ):
                answers.append(Answered(row.number, row.kept, answer, warning))
                mark.partial += warning is not None
        mark.answered = len(answers)
        files = part_files(self.form, answers, self.work.keep, self.is_folder, _width(pipe))
        with writing(self.made, _AGAIN):
            self.made.mkdir(exist_ok=True)
            for suffix, data in files.items():
                write_data(self.part(number, suffix), data)
            mark.save(self.marker(number))

    @property
    def is_folder(self) -> bool:
        """Whether rows are the pictures of a folder."""
        return (self.plan / NAMES).exists()


_open: tuple[Any, Pipeline[Any, Any], CutRows] | None = None
"""What the units of this process have read: the model once, and tables up to where the last unit ended."""


def _opened(units: RowUnits) -> tuple[Pipeline[Any, Any], CutRows]:
    global _open
    key = units.work, folder_mark(units.plan)
    if _open is None or _open[0] != key:
        names = json.loads(read_text(units.plan / NAMES, MAX_LOG)) if units.is_folder else None
        _open = key, units.work.pipe(), units.work.rows(names)
    return _open[1:]


def _width(pipe: Pipeline[Any, Any]) -> int:
    return pipe.engine.model.config.vector_width
