"""The class of a text or of two: language token 0 -> MLP head (spec: fine-tuning, GLUE)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from xfm.config.task import TaskKind
from xfm.data.schema import TensorFields, Tokens
from xfm.data.shapes import padded_tokens
from xfm.data.tables import Field, TableRow
from xfm.data.tokenizer import Tokenizer
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import TextClassifier
from xfm.objectives.losses import Losses
from xfm.tasks.base import Blanked, TaskSettings, classification_losses, seeded
from xfm.tasks.class_task import ClassTask
from xfm.tasks.classes import Choice
from xfm.tasks.own import Reading
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import LabelledText
from xfm.tasks.splits import SplitRows

FIELDS = (
    Field("text", "the text, or the first of two"),
    Field("label", "name of the class; with --regression the value"),
    Field("second", "the second text of a pair", optional=True),
)


@dataclass(frozen=True)
class TextBatch(TensorFields):
    """Texts, or pairs as one sequence each.

    Attributes:
        tokens: [R, T].
        targets: [R] int64 classes, or float32 values of a regression.
    """

    tokens: Tokens
    targets: Tensor


def encode_texts(rows: Sequence[LabelledText], tokenizer: Tokenizer, settings: TaskSettings) -> Tokens:
    """Texts as they are, and pairs as one sequence each: [R, T].

    Raises:
        ValueError: some rows have a second text and others have not.
    """
    limit, seconds = settings.max_tokens, [row.second for row in rows if row.second is not None]
    if not seconds:
        encoded = tokenizer.encode_batch([row.text for row in rows], limit)
    elif len(seconds) < len(rows):
        raise ValueError("some rows have a second text and others have not")
    elif settings.blanked is Blanked.FIRST_TEXT:
        encoded = tokenizer.encode_batch(seconds, limit)
    else:
        encoded = tokenizer.encode_pairs([row.text for row in rows], seconds, limit)
    return padded_tokens(encoded, tokenizer)


def read_text(row: TableRow) -> tuple[str, str | None]:
    """The one or two texts of a table's row; where there is a second column, every row has a second text."""
    return row.text("text"), row.text("second") if "second" in row else None


class OfTexts:
    """What every task on one or two texts a row has, whatever the label is."""

    kind: ClassVar[TaskKind] = TaskKind.TEXT
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    fields: ClassVar[tuple[Field, ...]] = FIELDS
    paired: ClassVar[bool] = True
    blankable: ClassVar[frozenset[Blanked]] = frozenset({Blanked.FIRST_TEXT})

    @classmethod
    def texts_of(cls, row: LabelledText) -> tuple[str, ...]:
        """Its one or two texts."""
        return (row.text,) if row.second is None else (row.text, row.second)

    @classmethod
    def single(cls, train: Sequence[LabelledText]) -> dict[Blanked, str]:
        """Pairs have a baseline that sees one text."""
        return {Blanked.FIRST_TEXT: "second text only"} if train[0].second is not None else {}


class TextClassificationTask(OfTexts, ClassTask[LabelledText, TextBatch]):
    """Which class is the text, or the pair of texts, of?

    The baseline of pairs blanks the first text: it sees `<s>second</s>` only, in the same training.
    """

    name: ClassVar[str] = TaskKind.TEXT

    def __init__(
        self,
        pretrained: Pretrained,
        train: Sequence[LabelledText],
        settings: TaskSettings,
        labels: Sequence[str],
    ) -> None:
        super().__init__(settings, train, labels)
        self.tokenizer = pretrained.tokenizer
        with seeded(settings.seed):
            language = copy.deepcopy(pretrained.model.language)  # vision and fusion are left behind
            self._module = TextClassifier(language, len(labels)).to(settings.device)
        self.describe(labels=self.labels.names)

    @classmethod
    def build(
        cls, pretrained: Pretrained, pictures: Pictures, data: SplitRows[LabelledText], settings: TaskSettings
    ) -> Self:
        """The task on a copy of the language encoder."""
        return cls(pretrained, data.train, settings, data.labels)

    @property
    def module(self) -> TextClassifier:
        """What is trained."""
        return self._module

    @classmethod
    def from_row(cls, row: TableRow, reading: Reading) -> LabelledText:
        """Fields `text` and `label`, and for pairs `second`."""
        text, second = read_text(row)
        return LabelledText(text, row.label("label"), second)

    def collate(self, rows: Sequence[LabelledText]) -> TextBatch:
        """Tokens and classes of the rows."""
        targets = self.labels.indices([self.class_of(row) for row in rows])
        return TextBatch(encode_texts(rows, self.tokenizer, self.settings), targets)

    def loss(self, batch: TextBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy."""
        return classification_losses(self.module(batch.tokens), batch.targets)

    def predict_batch(self, batch: TextBatch) -> list[Choice]:
        """The likeliest class of each text."""
        return self.labels.choices(self.module(batch.tokens))
