"""What a task is: typed rows, a batch, a loss, a prediction, metrics and guesses to compare with."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from xfm.config.image import UNVARIED, ImageTrainingConfig
from xfm.config.labels import ClassWeights, LabelKind
from xfm.config.task import HeadKind, ImageHead, TaskConfig
from xfm.config.task_spec import TaskSpec
from xfm.config.training import Precision
from xfm.data.collate import LENGTH_STEP, padded_tokens
from xfm.data.images import UnreadablePicture
from xfm.data.schema import TensorFields, Tokens
from xfm.data.tables import ColumnMap, TableRow, read_table
from xfm.data.tokenizer import as_read
from xfm.models.folder import Pretrained
from xfm.models.precision import autocast
from xfm.models.task_models import ADDED, build_task_model
from xfm.objectives.losses import Losses
from xfm.tasks.images import ImageVariation, ImageView, Pictures
from xfm.tasks.reading import Portion, collated, portion, read_ahead, reader
from xfm.tasks.rows import FILE_REMEDY, CellMeaning, Corners, LazyRows, SplitRows, pictures_of
from xfm.tasks.sampling import RowOrder, SampledRows, TrainingRows, seeded
from xfm.tasks.scored import Prediction, Row, ScoredTask
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
    label_smoothing: float = 0.1
    image: ImageTrainingConfig = UNVARIED
    image_head: ImageHead = ImageHead.LINEAR
    prompt: str = ""
    head: HeadKind = HeadKind.OWN
    label_kind: LabelKind = LabelKind.ONE
    threshold: float = 0.0
    class_weights: ClassWeights = ""
    seed: int = 0
    workers: int = 0
    precision: Precision = Precision.AUTO
    device: str = "cpu"


BatchT = TypeVar("BatchT", bound=TensorFields)


class Task(ScoredTask[Row, Prediction], Generic[Row, BatchT, Prediction]):
    """A model with a task's head, and how rows become batches, losses, predictions, metrics and cases. It
    copies the parts of the pre-trained model that it needs.

    `hides` names the baseline of each input that can be blanked; `in_parts` says whether losses of the parts
    of a batch add up (`gradient_accumulation_steps`).
    """

    spec: ClassVar[TaskSpec]
    hides: ClassVar[Mapping[HiddenInput, str]] = MappingProxyType({})
    in_parts: ClassVar[bool] = True
    module: Any

    def __init__(
        self, pretrained: Pretrained, pictures: Pictures, data: SplitRows[Row], settings: TaskSettings
    ) -> None:
        if settings.blanked not in {*self.hides, HiddenInput.NOTHING}:
            raise ValueError(f"{self.spec.name} has no {settings.blanked} that could be blanked")
        self.settings, self.pictures = settings, pictures
        self.train_rows = data.train if isinstance(data.train, LazyRows) else list(data.train)
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
            except UnreadablePicture as error:
                if bad is None:
                    raise
                bad(row.place, str(error))
        return list(cls.merge(found))

    @classmethod
    def labels_of(cls, row: Row) -> tuple[str, ...]:
        """The row's class, or its labels; none for tasks without classes and for a regression."""
        return ()

    @classmethod
    def pictures_of(cls, row: Row) -> tuple[Path, ...]:
        """The row's pictures."""
        return pictures_of(row)

    @classmethod
    def texts_of(cls, row: Row) -> tuple[str, ...]:
        """The texts that the model reads of the row."""
        return ()

    @classmethod
    def together(cls, row: Row) -> tuple[Hashable, ...]:
        """What of a row may not be in two splits: its pictures, or all its texts where it has none."""
        return cls.pictures_of(row) or (cls.texts_of(row),)

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
        hidden = self.settings.blanked is HiddenInput.TEXT
        return "" if hidden else as_read(self.spec.text, text, self.settings.max_tokens)

    def encode(self, texts: Sequence[str], step: int = LENGTH_STEP) -> Tokens:
        """[R, T] texts as they were given, which the task reads its way."""
        said = [self.as_read(text) for text in texts]
        encoded = self.tokenizer.encode_batch(said, self.settings.max_tokens)
        return padded_tokens(encoded, self.tokenizer, step)

    def shown(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor | None]:
        """The rows' distinct pictures [I, 3, S, S], or one blank, and [R, K] int64 those of each row."""
        columns = list(zip(*map(self.pictures_of, rows), strict=True))  # K of R pictures
        hidden = self.settings.blanked is HiddenInput.PICTURE
        pixels, index = self.pictures.distinct([one for column in columns for one in column], hidden)
        return pixels, index.view(len(columns), len(rows)).t().contiguous()

    @cached_property
    def _varying(self) -> ImageVariation | None:
        image = self.settings.image
        sees = self.spec.has_pictures and self.settings.blanked is not HiddenInput.PICTURE
        return ImageVariation(image, self.pictures) if sees and image.varies else None

    def training_batch(self, drawn: SampledRows[Row]) -> BatchT:
        """The batch of drawn rows with varied pictures, in worker processes: what it draws must follow from
        `drawn` alone."""
        if self._varying is None:
            return self.collate(drawn.rows)
        views = self._varying.views(drawn, self.pictures_of, self.texts_of, self.boxes_of)
        task = copy.copy(self)
        task.pictures = self.pictures.showing({path: view.pixels for path, view in views.items()})
        return task.collate([self.as_shown(row, views) for row in drawn.rows])

    def count(self, batch: BatchT, rows: Sequence[Row]) -> float:
        """Of how many things the losses of a batch are means: what a part of a step's batch counts for."""
        return len(rows)

    def batches(self, start: int, stop: int) -> Iterator[BatchT]:
        """This process's training batches of steps `start` to `stop` (excluded); seed and step decide."""
        return (portion.batch for portion in self.portions(start, stop))

    def portions(
        self, start: int, stop: int, accumulation: int = 1
    ) -> Generator[Portion[BatchT], None, None]:
        """This process's portions, counted over the steps, `accumulation` a step, read ahead by workers."""
        build = partial(portion, reader(self), self.training_rows(accumulation))
        pin, workers = self.settings.device.startswith("cuda"), self.settings.workers
        return read_ahead(build, range(start, stop), self.pictures, workers, pin)

    def training_rows(self, accumulation: int = 1) -> TrainingRows[Row]:
        """Which rows this process takes, portion by portion."""
        settings, cases = self.settings, self.cases
        order = RowOrder([self.group(one) for one in cases], settings.seed, settings.rows_per_picture)
        rank, world = distributed.rank(), distributed.world()
        return TrainingRows(cases, order, settings.batch_size, settings.seed, accumulation, rank, world)

    def predict(self, rows: Sequence[Row], batch_size: int = 256) -> list[Prediction]:
        """Predictions of rows in their order; all processes must call it with the same rows, and share
        them."""
        own, found = rows[own_part(len(rows))], list[Prediction]()
        build, steps = partial(collated, reader(self), own, batch_size), range(-(-len(own) // batch_size))
        read = read_ahead(build, steps, self.pictures, self.settings.workers)
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

    def is_new(self, name: str) -> bool:
        """Whether the module's parameter of that name was not pre-trained and learns at the larger rate."""
        return name.startswith(ADDED)

    def settle(self, valid: Sequence[Row]) -> None:
        """Choose what no gradient does, on rows that were not learned from; they may be none."""

    def finish(self) -> None:
        """Make the module give what it means to others, before it is saved; predictions stay the same."""

    @classmethod
    def shared(cls, row: Row) -> tuple[Hashable, ...]:
        """What rows have in common that are not independent: their pictures."""
        return cls.pictures_of(row)
