"""Typed rows: what the tasks are trained and tested on, whatever file they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from xfm.config.labels import LabelKind
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.data.tables import TableRow

Row = TypeVar("Row")

Corners = tuple[float, float, float, float]
"""Of a box: left, top, right, bottom."""

TRUTH = ("false", "true")
"""The classes of what is true or not, in the order of a head's outputs."""
FILE_REMEDY = "rename one of them in the file, or build the world again with `xfm prepare`"
"""For a file without a column, where no command reads it that could name another."""


@dataclass(frozen=True)
class LabelledText:
    """A text, or a pair of texts, and its class, its labels or its value.

    Attributes:
        text: the (first) text.
        label: name of the class, names of several labels, or the value of a regression.
        second: the second text of a pair.
    """

    text: str
    label: str | float | tuple[str, ...]
    second: str | None = None


@dataclass(frozen=True)
class MatchedTexts:
    """Two texts that belong together.

    Attributes:
        anchor: the one that the other is looked for by, such as a question.
        positive: what belongs to it.
        negatives: what does not, though it may seem to.
    """

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelledPictureText:
    """A picture with a text, the class of the two (or its labels), and the row's id in official files."""

    image: Path
    text: str
    label: str | tuple[str, ...]
    key: int | str | None = None


@dataclass(frozen=True)
class Question:
    """A question about a picture.

    Attributes:
        image: the picture.
        question: the question.
        answer: the answer, the most frequent one where several people answered.
        kind: groups the questions in reports.
        votes: answers of several people with their weights, as training weighs them; empty for one answer.
        key: the question's id in the official files, for submissions.
    """

    image: Path
    question: str
    answer: str
    kind: str
    votes: tuple[tuple[str, float], ...] = ()
    key: int | str | None = None


@dataclass(frozen=True)
class PicturePair:
    """A sentence about two pictures, whether it is true (or the class of the three), and its id."""

    images: tuple[Path, Path]
    text: str
    label: bool | str
    key: str | None = None


@dataclass(frozen=True)
class Reference:
    """A phrase and what it refers to in a picture: one box at least, each of which is right, as fractions of
    the picture's sides."""

    image: Path
    phrase: str
    boxes: tuple[Corners, ...]


@dataclass(frozen=True)
class Captioned:
    """A picture with its caption and, in the hard split, captions that do not fit, and what these have
    otherwise ("relation", "place", ...; empty if the file does not say)."""

    image: Path
    caption: str
    distractors: tuple[str, ...] = ()
    edit: str = ""


@dataclass(frozen=True)
class Described:
    """A picture with all of its captions, one at least, and its id in official files."""

    image: Path
    captions: tuple[str, ...]
    key: int | str | None = None


@dataclass(frozen=True)
class Categorised:
    """A picture of one object, its category, and the object's name; empty if the file does not say."""

    image: Path
    label: str
    shown: str = ""


@dataclass(frozen=True)
class Presence:
    """A phrase (an object, or a relation of two), whether it is true of the picture, and what groups it in
    reports; empty if the file does not say."""

    image: Path
    phrase: str
    present: bool
    kind: str = ""


@dataclass(frozen=True)
class MaskedRow:
    """A caption with its picture and a picture of other things."""

    image: Path
    caption: str
    wrong_image: Path


@dataclass(frozen=True)
class Labelled:
    """A picture, its class or labels, and file and row that name it, for messages."""

    image: Path
    label: str | tuple[str, ...]
    place: str = field(default="", compare=False, repr=False)

    @property
    def shown(self) -> str:
        """The picture, behind its place where that is known."""
        return f"{self.place}: {self.image}" if self.place else str(self.image)


def pictures_of(row: object) -> tuple[Path, ...]:
    """The pictures of a typed row of any task; none of a row of texts."""
    found = [getattr(row, name) for name in ("image", "wrong_image") if hasattr(row, name)]
    return (*found, *getattr(row, "images", ()))


@dataclass(frozen=True)
class SplitRows(Generic[Row]):
    """Typed rows of one task (see `xfm.tasks.rows`) by split.

    Attributes:
        train: rows that are learned from; one at least.
        valid: rows that choose the best model and stop the training; without any the last model is kept.
        test: rows that only the final scores see.
        others: further test splits by name, such as `testB` or `mismatched`.
        labels: names of the classes, in the order of the outputs; empty for tasks without classes and for a
            regression.
        answers: the list of answers that questions are ranked over; empty takes the most frequent ones of the
            training rows.
    """

    train: Sequence[Row]
    valid: Sequence[Row] = ()
    test: Sequence[Row] = ()
    others: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    @property
    def tests(self) -> dict[str, Sequence[Row]]:
        """Every test split that has rows, by its name; `test` comes first."""
        return {name: rows for name, rows in {"test": self.test, **self.others}.items() if rows}


@dataclass(frozen=True)
class CellMeaning:
    """How cells are meant where a table does not say it.

    Attributes:
        box_format: meaning of a box's four numbers.
        box_unit: their unit.
        regression: whether labels are values.
        label_kind: whether a row is of one class, or has any number of labels.
        separator: what stands between the labels of a cell.
    """

    box_format: BoxFormat = BoxFormat.XYWH
    box_unit: BoxUnit = BoxUnit.PIXEL
    regression: bool = False
    label_kind: LabelKind = LabelKind.ONE
    separator: str = "|"

    def label(self, row: TableRow) -> str | tuple[str, ...]:
        """The class of a table's row by its field `label`, or its labels.

        Raises:
            UserError: the cell holds neither; names file, row and column.
        """
        several = self.label_kind is LabelKind.SEVERAL
        return row.labels("label", self.separator) if several else row.label("label")


@dataclass(frozen=True)
class Case:
    """A row and what the model made of it, for people to look at.

    Attributes:
        truth, predicted: in words.
        right: whether the prediction counts as right.
        badness: how wrong it is; the worst cases have the most.
        texts: the row's texts by what they are.
        pictures: the row's pictures.
        true_boxes: each right, (left, top, right, bottom) as fractions of the first picture's sides.
        predicted_box: likewise.
        confidence: probability of the prediction, None where there is none.
    """

    truth: str
    predicted: str
    right: bool
    badness: float
    texts: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Path, ...] = ()
    true_boxes: tuple[Corners, ...] | None = None
    predicted_box: Corners | None = None
    confidence: float | None = None
