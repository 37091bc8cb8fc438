"""Typed rows of the task files (JSON lines; picture paths are relative to the file)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from xfm.data.left_out import UnreadablePicture
from xfm.data.picture_files import image_size
from xfm.data.task_rows import Row, read_rows

T = TypeVar("T")
Corners = tuple[float, float, float, float]
"""Of a box: left, top, right, bottom."""

TRUTH = ("false", "true")
"""The classes of what is true or not, in the order of a head's outputs."""


@dataclass(frozen=True)
class LabelledText:
    """A text, or a pair of texts, and its class or its value.

    Attributes:
        text: the (first) text.
        label: name of the class, or the value of a regression.
        second: the second text of a pair.
    """

    text: str
    label: str | float
    second: str | None = None


@dataclass(frozen=True)
class LabelledPictureText:
    """A picture with a text, and the class of the two.

    Attributes:
        image: the picture.
        text: the text.
        label: name of the class.
        key: the row's id in the official files.
    """

    image: Path
    text: str
    label: str
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
    """A phrase and the box it refers to: left, top, right, bottom as fractions of the picture's sides."""

    image: Path
    phrase: str
    box: Corners


@dataclass(frozen=True)
class Captioned:
    """A picture with its caption and, in the hard split, captions that do not fit."""

    image: Path
    caption: str
    distractors: tuple[str, ...] = ()


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
class MaskedRow:
    """A caption with its picture and a picture of other things."""

    image: Path
    caption: str
    wrong_image: Path


@dataclass(frozen=True)
class Labelled:
    """A picture and its category.

    Attributes:
        image: the picture.
        label: name of the class.
        place: file and row that name the picture, for messages.
    """

    image: Path
    label: str
    place: str = field(default="", compare=False, repr=False)

    @property
    def shown(self) -> str:
        """The picture, behind its place where that is known."""
        return f"{self.place}: {self.image}" if self.place else str(self.image)


def read_text_pairs(path: Path) -> list[LabelledText]:
    """Rows `{"text_a", "text_b", "label": true | false}`, of the classes `false` and `true`."""
    return _read(
        path,
        ("text_a", "text_b", "label"),
        lambda row: LabelledText(row.text("text_a"), TRUTH[row.flag("label")], row.text("text_b")),
    )


def read_questions(path: Path) -> list[Question]:
    """Rows `{"image", "question", "answer"}` and optionally `"kind"` (all one kind without)."""

    def question(row: Row) -> Question:
        kind = row.text("kind") if "kind" in row else "all"
        return Question(row.path("image"), row.text("question"), row.text("answer"), kind)

    return _read(path, ("image", "question", "answer"), question)


def read_picture_pairs(path: Path) -> list[PicturePair]:
    """Rows `{"images": [left, right], "text", "label": true | false}`."""

    def pair(row: Row) -> PicturePair:
        images = row.paths("images")
        if len(images) != 2:
            raise row.error("images", "must name two pictures")
        return PicturePair((images[0], images[1]), row.text("text"), row.flag("label"))

    return _read(path, ("images", "text", "label"), pair)


def pictures_of(row: object) -> tuple[Path, ...]:
    """The pictures of a typed row of any task; none of a row of texts."""
    found = [getattr(row, name) for name in ("image", "wrong_image") if hasattr(row, name)]
    return (*found, *getattr(row, "images", ()))


def read_references(path: Path, bad: Callable[[str, str], None] | None = None) -> list[Reference]:
    """Rows `{"image", "phrase", "box": [left, top, width, height]}`, the box in the picture's pixels.

    Args:
        path: the file.
        bad: told of a row whose picture cannot be measured, and why; None raises.
    """

    def reference(row: Row) -> Reference:
        image = row.path("image")
        width, height = image_size(image)
        left, top, w, h = row.box("box", width, height)
        corners = (left / width, top / height, (left + w) / width, (top + h) / height)
        return Reference(image, row.text("phrase"), corners)

    return _read(path, ("image", "phrase", "box"), reference, bad)


def read_captioned(path: Path) -> list[Captioned]:
    """Rows `{"image", "caption"}` and, in the hard split, `"distractors": [..]`."""

    def captioned(row: Row) -> Captioned:
        distractors = tuple(row.texts("distractors")) if "distractors" in row else ()
        return Captioned(row.path("image"), row.text("caption"), distractors)

    return _read(path, ("image", "caption"), captioned)


def read_masked(path: Path) -> list[MaskedRow]:
    """Rows `{"image", "caption", "wrong_image"}`."""
    return _read(
        path,
        ("image", "caption", "wrong_image"),
        lambda row: MaskedRow(row.path("image"), row.text("caption"), row.path("wrong_image")),
    )


def read_labelled(path: Path) -> list[Labelled]:
    """Rows `{"image", "label"}`."""
    return _read(path, ("image", "label"), lambda row: Labelled(row.path("image"), row.text("label")))


def _read(
    path: Path,
    required: Sequence[str],
    convert: Callable[[Row], T],
    bad: Callable[[str, str], None] | None = None,
) -> list[T]:
    """All rows, converted, but for those of which `bad` is told that their picture cannot be read."""
    found: list[T] = []
    for row in read_rows(path, required):
        try:
            found.append(convert(row))
        except UnreadablePicture as error:
            if bad is None:
                raise
            bad(f"{row.file}:{row.number}", str(error))
    return found
