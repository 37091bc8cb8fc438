"""What a task adds to be fine-tuned on anybody's data: fields of a table, guesses to compare with, cases."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from xfm.config.task import TaskKind
from xfm.data.boxes import BoxFormat, BoxUnit
from xfm.data.left_out import UnreadablePicture
from xfm.data.tables import ColumnMap, Field, TableRow, read_table
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import TaskModel
from xfm.tasks.base import BatchT, Blanked, Prediction, Row, Task, TaskSettings
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import FILE_REMEDY, Corners
from xfm.tasks.splits import SplitRows

DRAWS = 20
"""Random guesses of every row whose mean is chance."""


@dataclass(frozen=True)
class Reading:
    """How cells are meant where a table does not say it.

    Attributes:
        box_format: meaning of a box's four numbers.
        box_unit: their unit.
        regression: whether labels are values.
    """

    box_format: BoxFormat = BoxFormat.XYWH
    box_unit: BoxUnit = BoxUnit.PIXEL
    regression: bool = False


@dataclass(frozen=True)
class Case:
    """A row and what the model made of it, for people to look at.

    Attributes:
        truth, predicted: in words.
        right: whether the prediction counts as right.
        badness: how wrong it is; the worst cases have the most.
        texts: the row's texts by what they are.
        pictures: the row's pictures.
        true_box, predicted_box: (left, top, right, bottom) as fractions of the first picture's sides.
        confidence: probability of the prediction, None where there is none.
    """

    truth: str
    predicted: str
    right: bool
    badness: float
    texts: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Path, ...] = ()
    true_box: Corners | None = None
    predicted_box: Corners | None = None
    confidence: float | None = None


class OwnTask(Task[Row, BatchT, Prediction]):
    """A task that can be fine-tuned on own data.

    Attributes:
        kind: its name on the command line and in model folders.
        fields: what it reads from each row of a table.
        paired: whether a row's texts are one sequence.
    """

    kind: ClassVar[TaskKind]
    fields: ClassVar[tuple[Field, ...]]
    paired: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def build(
        cls, pretrained: Pretrained, pictures: Pictures, data: SplitRows[Row], settings: TaskSettings
    ) -> Self:
        """The task on a copy of the pre-trained model."""

    @classmethod
    @abstractmethod
    def from_row(cls, row: TableRow, reading: Reading) -> Row:
        """The typed row of a table's row.

        Raises:
            UserError: a cell is missing or wrong; names file, row and column.
        """

    @classmethod
    def read(cls, path: Path, bad: Callable[[str, str], None] | None = None) -> list[Row]:
        """Rows of a table whose columns have the names of the fields.

        Args:
            path: the table.
            bad: told of a row that cannot do without its picture, and why that cannot be read; None raises.
        """
        found: list[Row] = []
        columns = ColumnMap(remedy=FILE_REMEDY)
        for row in read_table(path, cls.fields, columns, path.with_suffix(".pictures")):
            try:
                found.append(cls.from_row(row, Reading()))
            except UnreadablePicture as error:
                if bad is None:
                    raise
                bad(row.place, str(error))
        return list(cls.merge(found))

    @classmethod
    def class_of(cls, row: Row) -> str | None:
        """The row's class, None for tasks without classes and for a regression."""
        return None

    @classmethod
    def pictures_of(cls, row: Row) -> tuple[Path, ...]:
        """The row's pictures."""
        return ()

    @classmethod
    def texts_of(cls, row: Row) -> tuple[str, ...]:
        """The texts that the model reads of the row."""
        return ()

    @classmethod
    def merge(cls, rows: Sequence[Row]) -> Sequence[Row]:
        """Rows of a table that belong together as one, for tasks that have such."""
        return rows

    @classmethod
    def epoch(cls, rows: Sequence[Row]) -> int:
        """How many training cases the rows are."""
        return len(rows)

    @classmethod
    def answer_list(cls, rows: Sequence[Row], limit: int) -> tuple[str, ...]:
        """The answers to rank over, most frequent first; empty for tasks without answers."""
        return ()

    @classmethod
    def single(cls, train: Sequence[Row]) -> dict[Blanked, str]:
        """What may be hidden to make a baseline of one modality, and what such a baseline is called."""
        return {}

    @property
    @abstractmethod
    def module(self) -> TaskModel:
        """Everything that is trained or used in prediction, a copy of the pre-trained model among it."""

    @abstractmethod
    def case(self, row: Row, prediction: Prediction) -> Case:
        """A row and its prediction in words."""

    def finish(self) -> None:
        """Make the module give what it means to others, before it is saved; predictions stay the same."""

    def guess(self, rows: Sequence[Row], rng: np.random.Generator) -> list[Prediction] | None:
        """A random guess for every row: chance. None where chance is known otherwise, or not at all."""
        return None

    def constants(self, rows: Sequence[Row]) -> dict[str, list[Prediction]]:
        """Guesses that training rows suggest whatever the input, by name, such as the most frequent class."""
        return {}

    def chance(self, rows: Sequence[Row], seed: int) -> dict[str, float]:
        """What random guesses score, by metric: the mean over `DRAWS` of them."""
        rng = np.random.default_rng(seed)
        scores: dict[str, list[float]] = {}
        for _ in range(DRAWS):
            guessed = self.guess(rows, rng)
            if guessed is None:
                return {}
            for name, value in self.metrics(rows, guessed).items():
                scores.setdefault(name, []).append(value)
        return {name: float(np.mean(values)) for name, values in scores.items()}

    def per_row(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> NDArray[np.float64] | None:
        """[R] what each row adds to the primary metric, their mean; None where it is no mean of rows."""
        return None

    def counts(self, rows: Sequence[Row]) -> dict[str, int]:
        """How many cases stand behind a metric, by its name, where these are not the rows."""
        return {}

    def describe(self, **changes: object) -> None:
        """Write into the module what a pipeline must know: labels, answers, the length of texts."""
        told: dict[str, Any] = {"max_tokens": self.settings.max_tokens, **changes}
        self.module.task = replace(self.module.task, **told)
