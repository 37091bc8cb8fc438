"""The class of a text or of two: language token 0 -> MLP head (spec: fine-tuning, GLUE)."""

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from xfm.config.task import TaskConfig
from xfm.config.task_spec import TaskSpec, TextRule
from xfm.config.tasks import TEXT_CLASSIFICATION
from xfm.data.schema import Tokens
from xfm.data.shapes import padded_tokens
from xfm.data.tables import TableRow
from xfm.data.tokenizer import Tokenizer, as_read
from xfm.tasks.base import Task
from xfm.tasks.cases import CellMeaning
from xfm.tasks.class_task import ClassTask
from xfm.tasks.rows import LabelledText
from xfm.tasks.settings import Blanked, TaskSettings
from xfm.tasks.splits import SplitRows


def tokenize_rows(
    rows: Sequence[LabelledText],
    tokenizer: Tokenizer,
    settings: TaskSettings,
    rule: TextRule = TEXT_CLASSIFICATION.text,
) -> Tokens:
    """Texts by the rule of their task, and pairs as one sequence each: [R, T].

    Raises:
        ValueError: some rows have a second text and others have not (`require_texts` refuses such tables).
    """
    limit = settings.max_tokens
    texts = [as_read(rule, row.text, limit) for row in rows]
    seconds = [as_read(rule, row.second, limit) for row in rows if row.second is not None]
    if not seconds:
        encoded = tokenizer.encode_batch(texts, limit)
    elif len(seconds) < len(rows):
        raise ValueError("some rows have a second text and others have not")
    elif settings.blanked is Blanked.FIRST_TEXT:
        encoded = tokenizer.encode_batch(seconds, limit)
    else:
        encoded = tokenizer.encode_pairs(texts, seconds, limit)
    return padded_tokens(encoded, tokenizer)


def read_texts(row: TableRow) -> tuple[str, str | None]:
    """The one or two texts of a table's row; an empty cell is no second text."""
    return row.text("text"), row.text("text_pair") if row.has("text_pair") else None


class OfTexts(Task[LabelledText, Any, Any]):
    """What every task on one or two texts a row has, whatever the label is."""

    spec: ClassVar[TaskSpec] = TEXT_CLASSIFICATION
    hides: ClassVar[Mapping[Blanked, str]] = MappingProxyType({Blanked.FIRST_TEXT: "second text only"})

    def described(self, data: SplitRows[LabelledText], **more: Any) -> TaskConfig:
        """With the number of texts of a row."""
        return super().described(data, texts=len(self.texts_of(data.train[0])), **more)

    def tokens(self, rows: Sequence[LabelledText]) -> Tokens:
        """[R, T] texts, or pairs as one sequence each."""
        return tokenize_rows(rows, self.tokenizer, self.settings, self.spec.text)

    @classmethod
    def texts_of(cls, row: LabelledText) -> tuple[str, ...]:
        """Its one or two texts."""
        return (row.text,) if row.second is None else (row.text, row.second)

    @classmethod
    def shared(cls, row: LabelledText) -> tuple[Hashable, ...]:
        """Both texts of a pair: the pairs that were made of the same texts stand or fall together."""
        return () if row.second is None else (row.text, row.second)

    @classmethod
    def single(cls, train: Sequence[LabelledText]) -> dict[Blanked, str]:
        """Pairs have a baseline that sees one text."""
        return dict(cls.hides) if train[0].second is not None else {}


class TextClassificationTask(OfTexts, ClassTask[LabelledText]):
    """Which class is the text, or the pair of texts, of?

    The baseline of pairs blanks the first text: it sees `<s>second</s>` only, in the same training.
    """

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> LabelledText:
        """Fields `text` and `label`, and for pairs `text_pair`."""
        text, second = read_texts(row)
        return LabelledText(text, meaning.label(row), second)
