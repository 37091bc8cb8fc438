"""What a task is: typed rows, a batch, a loss, a prediction, metrics and guesses to compare with."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.image import UNVARIED, ImageTrainingConfig
from xfm.config.labels import ClassWeights, LabelKind
from xfm.config.task import HeadKind, ImageHead, TaskConfig
from xfm.config.task_spec import TaskSpec
from xfm.config.training import Precision
from xfm.data.collate import LENGTH_STEP, padded_tokens
from xfm.data.images import UnreadableImage
from xfm.data.schema import TensorFields, Tokens
from xfm.data.tables import ColumnMap, TableRow, read_table
from xfm.data.transforms import names_a_side, show
from xfm.data.variation import augmentation, training_view
from xfm.metrics.classification import mean_scores
from xfm.models.folder import Pretrained
from xfm.models.precision import autocast
from xfm.models.task_models import build_task_model
from xfm.objectives.losses import Losses
from xfm.tasks.images import ImageView, Portion, TaskImages, read_ahead
from xfm.tasks.rows import FILE_REMEDY, Case, CellMeaning, Corners, SplitRows, images_of, texts_of
from xfm.tasks.sampling import RowOrder, SampledRows, sampled_rows, seeded
from xfm.training import distributed
from xfm.training.collectives import in_order, own_part


class HiddenInput(StrEnum):
    """Input hidden from the model: a baseline is the same fine-tuning without it (`first_text`: hypothesis
    only)."""

    NOTHING = "nothing"
    PICTURE = "picture"
    TEXT = "text"
    FIRST_TEXT = "first text"


@dataclass(frozen=True)
class TaskSettings:
    """Settings that every task shares, as of `FinetuneConfig`; `rows_per_picture` rows of a picture follow
    one another, so that it is encoded once; `threshold` 0 is chosen on validation rows."""

    blanked: HiddenInput = HiddenInput.NOTHING
    batch_size: int = 64
    rows_per_picture: int = 4
    max_tokens: int = 64
    max_words: int = 0
    label_smoothing: float = 0.1
    image: ImageTrainingConfig = UNVARIED
    image_head: ImageHead = ImageHead.LINEAR
    prompt: str = ""
    dimensions: Sequence[int] = ()
    hard_negatives: int = 0
    head: HeadKind = HeadKind.OWN
    label_kind: LabelKind = LabelKind.ONE
    threshold: float = 0.0
    class_weights: ClassWeights = ""
    seed: int = 0
    workers: int = 0
    precision: Precision = Precision.AUTO
    device: str = "cpu"


BatchT = TypeVar("BatchT", bound=TensorFields)
Row = TypeVar("Row")
Prediction = TypeVar("Prediction")
Metrics = dict[str, float]
RowScores = dict[str, NDArray[np.float64]]
"""[R] what each row adds to a metric that is a mean of rows, by its name; NaN for no part in it."""
Scorer = Callable[[Sequence[Any], Sequence[Any]], Metrics]
"""Rows of a split and one prediction for each -> metrics by name."""
DRAWS = 20
"""Random guesses of every row whose mean is chance."""
_STREAM = 1  # keeps the draws of views apart from others that begin with the same seed and step


class Task(ABC, Generic[Row, BatchT, Prediction]):
    """A model with a task's head, and how rows become batches, losses, predictions, metrics and cases. It
    copies the parts of the pre-trained model that it needs.

    `primary` chooses between models; `known` are the possible labels or answers; `hides` names the baseline
    of each input that can be blanked; `in_parts` says whether losses of the parts of a batch add up
    (`gradient_accumulation_steps`).
    """

    spec: ClassVar[TaskSpec]
    primary: ClassVar[str]
    hides: ClassVar[Mapping[HiddenInput, str]] = {}
    in_parts: ClassVar[bool] = True
    known: Sequence[str] = ()
    module: Any

    def __init__(
        self, pretrained: Pretrained, pictures: TaskImages, data: SplitRows[Row], settings: TaskSettings
    ) -> None:
        if settings.blanked not in {*self.hides, HiddenInput.NOTHING}:
            raise ValueError(f"{self.spec.name} has no {settings.blanked} that could be blanked")
        self.settings, self.pictures = settings, pictures
        self.train_rows = list(data.train)
        if self.spec.has_texts:
            self.tokenizer = pretrained.tokenizer
        self.prepare(data)
        with seeded(settings.seed):
            built = build_task_model(self.described(data), pretrained.model)
        self.module = copy.deepcopy(built).to(settings.device)

    def prepare(self, data: SplitRows[Row]) -> None:
        """Take what the task needs of the rows, before its module is built."""

    def described(self, data: SplitRows[Row], **more: Any) -> TaskConfig:
        """What the module says about itself, for pipelines: labels, answers, the length of texts."""
        limit = self.settings.max_tokens if self.spec.has_texts else 0
        same = {name: getattr(self.settings, name) for name in ("image_head", "head", "max_words")}
        return TaskConfig(self.spec.name, max_tokens=limit, **same, **more)

    # ------------------------------------------------------------ rows
    @classmethod
    @abstractmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> Row:
        """The typed row of a table's row, which has the fields of `spec`; UserError names file, row and
        column."""

    @classmethod
    def read(cls, path: Path, bad: Callable[[str, str], None] | None = None) -> list[Row]:
        """Rows of a table with columns named as the fields; `bad` is told of rows that need an unreadable
        picture (None: raises)."""
        found: list[Row] = []
        columns = ColumnMap(remedy=FILE_REMEDY)
        for row in read_table(path, cls.spec.fields, columns, path.with_suffix(".pictures")):
            try:
                found.append(cls.from_row(row, CellMeaning()))
            except UnreadableImage as error:
                if bad is None:
                    raise
                bad(row.place, str(error))
        return list(cls.merge(found))

    @classmethod
    def labels_of(cls, row: Row) -> tuple[str, ...]:
        """The row's class, or its labels; none for tasks without classes and for a regression."""
        return ()

    @classmethod
    def images_of(cls, row: Row) -> tuple[Path, ...]:
        """The row's pictures."""
        return images_of(row)

    @classmethod
    def texts_of(cls, row: Row) -> tuple[str, ...]:
        """The texts that the model reads of the row."""
        return texts_of(row)

    @classmethod
    def together(cls, row: Row) -> tuple[Hashable, ...]:
        """What of a row may not be in two splits: its pictures, or all its texts where it has none."""
        return cls.images_of(row) or (cls.texts_of(row),)

    @classmethod
    def boxes_of(cls, row: Row) -> tuple[Corners, ...]:
        """What a crop of the row's picture must keep: boxes as fractions of its sides."""
        return ()

    def as_shown(self, row: Row, views: Mapping[Path, ImageView]) -> Row:
        """A training row as it is of the varied pictures, for tasks whose targets move with them."""
        return row

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
    def single(cls, train: Sequence[Row]) -> dict[HiddenInput, str]:
        """What may be hidden to make a baseline of one modality, and what such a baseline is called."""
        return {blanked: name for blanked, name in cls.hides.items() if name}

    def group(self, row: Row) -> Hashable:
        """Rows with equal groups share a batch, which encodes their picture once; None: alone."""
        return self.images_of(row) if self.spec.reads("rows_per_picture") else None

    def groups(self, cases: Sequence[Row]) -> tuple[Sequence[Hashable], int]:
        """The group of each case, and how many of one follow one another in a batch."""
        return [self.group(one) for one in cases], self.settings.rows_per_picture

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

    def predict_batch(self, batch: BatchT) -> list[Prediction]:
        """Predictions of a batch; the module is in evaluation mode and gradients are off. Of tasks whose
        predictions are ranks among all rows, `predict` does all."""
        raise NotImplementedError

    def as_read(self, text: str) -> str:
        """A text as the task reads it (`TaskSpec.text`); an empty one where texts are hidden."""
        most = self.settings.max_tokens, self.settings.max_words
        hidden = self.settings.blanked is HiddenInput.TEXT
        return "" if hidden else self.tokenizer.as_read(self.spec.text, text, *most)

    def encode(self, texts: Sequence[str], step: int = LENGTH_STEP) -> Tokens:
        """[R, T] texts as they were given, which the task reads its way."""
        said = [self.as_read(text) for text in texts]
        encoded = self.tokenizer.encode_batch(said, self.settings.max_tokens)
        return padded_tokens(encoded, self.tokenizer, step)

    def shown(self, rows: Sequence[Row]) -> tuple[Tensor, Any]:
        """The rows' distinct pictures [I, 3, S, S], or one blank, and [R, K] int64 those of each row."""
        columns = list(zip(*map(self.images_of, rows), strict=True))  # K of R pictures
        hidden = self.settings.blanked is HiddenInput.PICTURE
        pixels, index = self.pictures.distinct([one for column in columns for one in column], hidden)
        return pixels, index.view(len(columns), len(rows)).t().contiguous()

    @cached_property
    def _augment(self) -> Callable[[Tensor], Tensor] | None:
        return augmentation(self.settings.image, self.pictures.preprocessing.shape)

    def views(self, drawn: SampledRows[Row]) -> dict[Path, ImageView]:
        """Varied views of the distinct pictures of rows; each follows from all rows of the batch with it,
        their texts and boxes."""
        texts: dict[Path, list[str]] = {}
        boxes: dict[Path, list[Corners]] = {}
        for row in drawn.batch:
            for path in self.images_of(row):
                texts.setdefault(path, []).extend(self.texts_of(row))
                boxes.setdefault(path, []).extend(self.boxes_of(row))
        wanted = {path for row in drawn.rows for path in self.images_of(row)}
        image, pictures = self.settings.image, self.pictures
        found: dict[Path, ImageView] = {}
        for place, (path, said) in enumerate(texts.items()):
            if path not in wanted:
                continue
            # Without a crop the squashed picture is enough, which is read once for all steps.
            picture = pictures.uint8(path, whole=image.crops)
            size = width, height = picture.shape[2], picture.shape[1]
            rng = np.random.default_rng((drawn.seed, drawn.step, place, _STREAM))
            kept = [(x * width, y * height, right * width, low * height) for x, y, right, low in boxes[path]]
            view = training_view(rng, image, size, kept, not names_a_side(said, image.sides))
            pixels = show(picture, view, pictures.preprocessing.shape)
            if self._augment is not None:
                with seeded(int(rng.integers(1 << 62))):
                    pixels = self._augment(pixels)
            found[path] = ImageView(pixels, view, size)
        return found

    def training_batch(self, drawn: SampledRows[Row]) -> BatchT:
        """The batch of drawn rows with varied pictures, in worker processes: what it draws must follow from
        `drawn` alone."""
        hidden = self.settings.blanked is HiddenInput.PICTURE
        if hidden or not (self.spec.has_images and self.settings.image.varies):
            return self.collate(drawn.rows)
        views = self.views(drawn)
        task = copy.copy(self)
        task.pictures = TaskImages(self.pictures.preprocessing, limit=0)
        task.pictures.kept |= {path: view.pixels for path, view in views.items()}  # not what their files hold
        return task.collate([self.as_shown(row, views) for row in drawn.rows])

    def count(self, batch: BatchT, rows: Sequence[Row]) -> float:
        """Of how many things the losses of a batch are means: what a part of a step's batch counts for."""
        return len(rows)

    def portions(
        self, start: int, stop: int, accumulation: int = 1
    ) -> Generator[Portion[BatchT], None, None]:
        """This process's portions, counted over the steps, `accumulation` a step, read ahead by workers."""
        settings, cases = self.settings, self.cases
        groups, most = self.groups(cases)
        order = RowOrder(groups, settings.seed, most)
        parts = {"accumulation": accumulation, "rank": distributed.rank(), "world": distributed.world()}
        draw = partial(sampled_rows, cases, order, settings.batch_size, settings.seed, **parts)
        build = partial(self._reader()._portion, draw)
        pin, workers = self.settings.device.startswith("cuda"), self.settings.workers
        return read_ahead(build, range(start, stop), self.pictures, workers, pin)

    def _reader(self) -> Self:
        """The task without its model, which is of no use to those who read, and may have to be sent."""
        copied = copy.copy(self)
        vars(copied).pop("module", None)
        return copied

    def _portion(self, draw: Callable[[int], SampledRows[Row]], index: int) -> Portion[BatchT]:
        drawn = draw(index)
        batch = self.training_batch(drawn)
        return Portion(batch, len(drawn.rows), self.count(batch, drawn.rows))

    def predict(self, rows: Sequence[Row], batch_size: int = 256) -> list[Prediction]:
        """Predictions of rows in their order; all processes must call it with the same rows, and share
        them."""
        own, found = rows[own_part(len(rows))], list[Prediction]()
        parts = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
        read = read_ahead(self._reader().collate, parts, self.pictures, self.settings.workers)
        with closing(read), self.predicting():
            for batch in read:
                with autocast(self.settings.precision, self.settings.device):
                    found += self.predict_batch(batch.to(self.settings.device))
        return in_order(found)

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

    def settle(self, valid: Sequence[Row]) -> None:
        """Choose what no gradient does, on rows that were not learned from; they may be none."""

    def finish(self) -> None:
        """Make the module give what it means to others, before it is saved; predictions stay the same."""

    @classmethod
    def shared(cls, row: Row) -> tuple[Hashable, ...]:
        """What rows have in common that are not independent: their pictures."""
        return cls.images_of(row)

    # ------------------------------------------------------------ scores
    def metrics(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics by name, fractions from 0 to 1, the primary one among them: the means of `row_scores`."""
        return {name: float(np.nanmean(own)) for name, own in self.row_scores(rows, predictions).items()}

    def validation_metrics(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics of rows that choose between models: as `settle` would have the task on them."""
        return self.metrics(rows, predictions)

    @abstractmethod
    def case(self, row: Row, prediction: Prediction) -> Case:
        """A row and its prediction in words."""

    def truths(self, row: Row) -> Sequence[str]:
        """Labels or answers, as `known` has them, of which each would be right for the row."""
        return self.labels_of(row)

    def unknown(self, row: Row) -> Sequence[str]:
        """The labels or answers of a row that the task cannot give, which no prediction of it gets right."""
        said = self.truths(row)
        return said[:1] if self.known and not set(self.known) & set(said) else ()

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
        """Chance by metric: a formula, or the mean over `DRAWS` guesses; absent without either."""
        rng, score, known = np.random.default_rng(seed), score or self.metrics, self.known_chance(rows)
        guesses = (self.guess(rows, rng) for _ in range(DRAWS))
        means = mean_scores([score(rows, guessed) for guessed in guesses if guessed is not None])
        return {name: known.get(name, value) for name, value in means.items()} or known

    def constant_scores(self, rows: Sequence[Row], score: Scorer | None = None) -> dict[str, Metrics]:
        """Metrics of `constants`, by their names; `score` as of `chance`."""
        score = score or self.metrics
        return {name: score(rows, guessed) for name, guessed in self.constants(rows).items()}

    def row_scores(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> RowScores:
        """What rows add to metrics."""
        return {}

    def counts(self, rows: Sequence[Row]) -> dict[str, int]:
        """How many cases stand behind a metric, by its name, where these are not the rows."""
        return {}


AnyTask = Task[Any, Any, Any]
