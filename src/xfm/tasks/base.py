"""What a task is: typed rows, a batch, a loss, a prediction, metrics and guesses to compare with."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.task import TaskConfig
from xfm.config.task_spec import TaskSpec
from xfm.data.collate import LENGTH_STEP
from xfm.data.left_out import UnreadablePicture
from xfm.data.schema import TensorFields, Tokens
from xfm.data.shapes import padded_tokens
from xfm.data.tables import ColumnMap, TableRow, read_table
from xfm.data.tokenizer import as_read
from xfm.metrics.guesses import mean_scores
from xfm.modeling.folder import Pretrained
from xfm.modeling.precision import autocast
from xfm.modeling.task_models import ADDED, build_task_model
from xfm.objectives.losses import Losses
from xfm.tasks.cases import Case, CellMeaning
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import FILE_REMEDY, pictures_of
from xfm.tasks.sampling import row_order, seeded
from xfm.tasks.settings import Blanked, TaskSettings
from xfm.tasks.splits import SplitRows

Row = TypeVar("Row")
BatchT = TypeVar("BatchT", bound=TensorFields)
Prediction = TypeVar("Prediction")
Metrics = dict[str, float]
Scorer = Callable[[Sequence[Any], Sequence[Any]], Metrics]
"""Rows of a split and one prediction for each -> metrics by name."""
DRAWS = 20
"""Random guesses of every row whose mean is chance."""


class Task(ABC, Generic[Row, BatchT, Prediction]):
    """A model with a task's head, and how rows become batches, losses, predictions, metrics and cases.

    It owns a copy of the parts of the pre-trained model that its head stands on, so that several tasks can
    start from the same one.

    Attributes:
        spec: the task: its fields, the rule of its texts, its head.
        primary: the metric that chooses between models; greater is better.
        hides: the inputs that a baseline may blank, and what the baseline of one modality is then called;
            nothing where there is no such baseline.
        known: the labels or answers that it can give; empty where they are not limited to some.
        module: everything that is trained or used in prediction: the task's `TaskModel`.

    Args:
        pretrained: the model to begin with; it stays as it is.
        pictures: as the model takes them.
        data: rows, labels and answers; only the training rows are kept.
        settings: how it is trained.

    Raises:
        ValueError: the settings blank what the task does not have.
    """

    spec: ClassVar[TaskSpec]
    primary: ClassVar[str]
    hides: ClassVar[Mapping[Blanked, str]] = MappingProxyType({})
    known: Sequence[str] = ()
    module: Any

    def __init__(
        self, pretrained: Pretrained, pictures: Pictures, data: SplitRows[Row], settings: TaskSettings
    ) -> None:
        if settings.blanked not in {*self.hides, Blanked.NOTHING}:
            raise ValueError(f"{self.spec.name} has no {settings.blanked} that could be blanked")
        self.settings, self.train_rows, self.pictures = settings, list(data.train), pictures
        if self.spec.has_texts:
            self.tokenizer = pretrained.tokenizer
        with seeded(settings.seed):
            built = build_task_model(self.described(data), pretrained.model)
        self.module = copy.deepcopy(built).to(settings.device)

    def described(self, data: SplitRows[Row], **more: Any) -> TaskConfig:
        """What the module says about itself, for pipelines: labels, answers, the length of texts."""
        limit = self.settings.max_tokens if self.spec.has_texts else 0
        heads = {"image_head": self.settings.image_head, "head": self.settings.head}
        return TaskConfig(self.spec.name, max_tokens=limit, **heads, **more)

    # ------------------------------------------------------------ rows
    @classmethod
    @abstractmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> Row:
        """The typed row of a table's row, which has the fields of `spec`.

        Raises:
            UserError: a cell is missing or wrong; names file, row and column.
        """

    @classmethod
    def read(cls, path: Path, bad: Callable[[str, str], None] | None = None) -> list[Row]:
        """Rows of a table whose columns have the names of the fields.

        Args:
            path: the table.
            bad: told of a row that cannot do without its picture, and why that cannot be read; None raises.

        Raises:
            UserError: the file is missing, or a row lacks a column or holds a wrong value.
        """
        found: list[Row] = []
        columns = ColumnMap(remedy=FILE_REMEDY)
        for row in read_table(path, cls.spec.fields, columns, path.with_suffix(".pictures")):
            try:
                found.append(cls.from_row(row, CellMeaning()))
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
        return pictures_of(row)

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
        return {blanked: name for blanked, name in cls.hides.items() if name}

    def group(self, row: Row) -> Hashable:
        """Rows with equal groups are put into the same batch, which encodes their picture once; None: alone.

        Texts about one picture belong together (in a baseline too: it sees the same batches).
        """
        return self.pictures_of(row) if self.spec.reads("rows_per_picture") else None

    # ------------------------------------------------------------ training and prediction
    @property
    def cases(self) -> Sequence[Row]:
        """What an epoch of training shows once each."""
        return self.train_rows

    @abstractmethod
    def collate(self, rows: Sequence[Row]) -> BatchT:
        """One batch of the rows, in their order, on the CPU."""

    @abstractmethod
    def loss(self, batch: BatchT, generator: torch.Generator) -> Losses:
        """Losses of a batch that lies where the module does. Nothing is detached."""

    @abstractmethod
    def predict_batch(self, batch: BatchT) -> list[Prediction]:
        """Predictions of a batch; the module is in evaluation mode and gradients are off."""

    def as_read(self, text: str) -> str:
        """A text as the task reads it (`TaskSpec.text`); an empty one where texts are hidden."""
        hidden = self.settings.blanked is Blanked.TEXT
        return "" if hidden else as_read(self.spec.text, text, self.settings.max_tokens)

    def encode(self, texts: Sequence[str], step: int = LENGTH_STEP) -> Tokens:
        """[R, T] texts as they were given, which the task reads its way."""
        said = [self.as_read(text) for text in texts]
        encoded = self.tokenizer.encode_batch(said, self.settings.max_tokens)
        return padded_tokens(encoded, self.tokenizer, step)

    def shown(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor | None]:
        """The rows' distinct pictures [I, 3, S, S], or one blank, and [R, K] int64 those of each row."""
        columns = list(zip(*map(self.pictures_of, rows), strict=True))  # K of R pictures
        hidden = self.settings.blanked is Blanked.PICTURE
        pixels, index = self.pictures.distinct([one for column in columns for one in column], hidden)
        return pixels, index.view(len(columns), len(rows)).t().contiguous()

    def batches(self, start: int, stop: int) -> Iterator[BatchT]:
        """Training batches of the steps `start` (included) to `stop` (excluded).

        A batch depends on the seed and the step only, so that training can continue anywhere.
        """
        for rows in self.drawn(start, stop):
            yield self.collate(rows)

    def drawn(self, start: int, stop: int) -> Iterator[list[Row]]:
        """Training cases of the steps `start` (included) to `stop` (excluded)."""
        cases, size = self.cases, self.settings.batch_size
        groups = [self.group(one) for one in cases]
        order = row_order(groups, self.settings.seed, start * size, self.settings.rows_per_picture)
        for _ in range(start, stop):
            yield [cases[next(order)] for _ in range(size)]

    def predict(self, rows: Sequence[Row], batch_size: int = 256) -> list[Prediction]:
        """Predictions of any number of rows, in their order."""
        predictions: list[Prediction] = []
        with self.predicting():
            for first in range(0, len(rows), batch_size):
                batch = self.collate(rows[first : first + batch_size]).to(self.settings.device)
                with autocast(self.settings.precision, self.settings.device):
                    predictions += self.predict_batch(batch)
        return predictions

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """Without gradients and with the module in evaluation mode, which ends with the block."""
        was_training = self.module.training
        self.module.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.module.train(was_training)

    def is_new(self, name: str) -> bool:
        """Whether the module's parameter of that name was not pre-trained and learns at the larger rate."""
        return name.startswith(ADDED)

    def finish(self) -> None:
        """Make the module give what it means to others, before it is saved; predictions stay the same."""

    # ------------------------------------------------------------ scores
    @abstractmethod
    def metrics(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics by name, the primary one among them, as fractions from 0 to 1."""

    @abstractmethod
    def case(self, row: Row, prediction: Prediction) -> Case:
        """A row and its prediction in words."""

    def truths(self, row: Row) -> Sequence[str]:
        """Labels or answers, as `known` has them, of which each would be right for the row."""
        return ()

    def guess(self, rows: Sequence[Row], rng: np.random.Generator) -> list[Prediction] | None:
        """A random guess for every row. None where chance is known without, or is not defined."""
        return None

    def known_chance(self, rows: Sequence[Row]) -> dict[str, float]:
        """What guesses are expected to score, by metric, where a formula says so."""
        return {}

    def constants(self, rows: Sequence[Row]) -> dict[str, list[Prediction]]:
        """Guesses that training rows suggest whatever the input, by name, such as the most frequent class."""
        return {}

    def chance(self, rows: Sequence[Row], seed: int, score: Scorer | None = None) -> dict[str, float]:
        """Chance of every command (see `xfm.reports.scores.Score`), by metric.

        Args:
            rows: that are scored.
            seed: of the guesses.
            score: metrics of rows and predictions, where they are others than `metrics`.

        Returns:
            Where a formula is known, what it says, else the mean over `DRAWS` guesses; a metric for which
            neither can be had is absent.
        """
        rng, score, known = np.random.default_rng(seed), score or self.metrics, self.known_chance(rows)
        guesses = (self.guess(rows, rng) for _ in range(DRAWS))
        means = mean_scores([score(rows, guessed) for guessed in guesses if guessed is not None])
        return {name: known.get(name, value) for name, value in means.items()} or known

    def constant_scores(self, rows: Sequence[Row], score: Scorer | None = None) -> dict[str, Metrics]:
        """Metrics of `constants`, by their names; `score` as of `chance`."""
        score = score or self.metrics
        return {name: score(rows, guessed) for name, guessed in self.constants(rows).items()}

    def row_scores(
        self, rows: Sequence[Row], predictions: Sequence[Prediction]
    ) -> dict[str, NDArray[np.float64]]:
        """[R] what each row adds to a metric that is a mean of rows, by its name; NaN for no part in it."""
        return {}

    def per_row(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> NDArray[np.float64] | None:
        """[R] what each row adds to the primary metric, their mean; None where it is no mean of rows."""
        return self.row_scores(rows, predictions).get(self.primary)

    @classmethod
    def shared(cls, row: Row) -> tuple[Hashable, ...]:
        """What rows have in common that are not independent: their pictures."""
        return cls.pictures_of(row)

    def counts(self, rows: Sequence[Row]) -> dict[str, int]:
        """How many cases stand behind a metric, by its name, where these are not the rows."""
        return {}
