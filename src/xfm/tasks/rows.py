"""Typed rows: what the tasks are trained and tested on, whatever file it came from."""

from dataclasses import dataclass, field
from pathlib import Path

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
    """A picture with a text, and the class of the two, or its labels.

    Attributes:
        image: the picture.
        text: the text.
        label: name of the class, or names of several labels.
        key: the row's id in the official files.
    """

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
    """A sentence about two pictures and whether it is true, or the class of the three.

    Attributes:
        images: the left and the right picture.
        text: the sentence.
        label: whether it is true, or the class.
        key: the row's id in the official files.
    """

    images: tuple[Path, Path]
    text: str
    label: bool | str
    key: str | None = None


@dataclass(frozen=True)
class Reference:
    """A phrase and what it refers to in a picture.

    Attributes:
        image: the picture.
        phrase: the phrase.
        boxes: one at least, each of which is right: left, top, right, bottom as fractions of its sides.
    """

    image: Path
    phrase: str
    boxes: tuple[Corners, ...]


@dataclass(frozen=True)
class Captioned:
    """A picture with its caption and, in the hard split, captions that do not fit.

    Attributes:
        image: the picture.
        caption: what fits it.
        distractors: what does not.
        edit: what the distractors have otherwise ("relation", "place", ...); empty if the file does not say.
    """

    image: Path
    caption: str
    distractors: tuple[str, ...] = ()
    edit: str = ""


@dataclass(frozen=True)
class Described:
    """A picture with all of its captions.

    Attributes:
        image: the picture.
        captions: one at least.
        key: the picture's id in the official files.
    """

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
    """A phrase and whether it is true of the picture.

    Attributes:
        image: the picture.
        phrase: names an object, or a relation of two.
        present: whether the picture shows it.
        kind: groups the phrases in reports; empty if the file does not say.
    """

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
    """A picture and its category, or its labels.

    Attributes:
        image: the picture.
        label: name of the class, or names of several labels.
        place: file and row that name the picture, for messages.
    """

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
