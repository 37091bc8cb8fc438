"""Typed rows: what the tasks are trained and tested on, whatever file they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from xfm.config.labels import LabelKind
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.config.task_spec import Field
from xfm.config.tasks import REASONING
from xfm.data.tables import ColumnMap, TableRow, read_table

Row = TypeVar("Row")

Corners = tuple[float, float, float, float]
"""Of a box: left, top, right, bottom."""

TRUTH = ("false", "true")
"""The classes of what is true or not, in the order of a head's outputs."""
FILE_REMEDY = "rename one of them in the file, or build the world again with `xfm prepare`"
"""For a file without a column, where no command reads it that could name another."""


@dataclass(frozen=True)
class LabelledText:
    """A text, a pair of texts, or a text about pictures, with a class, labels, a value or whether it is true,
    and its id in official files."""

    text: str
    label: str | float | bool | tuple[str, ...]
    second: str | None = None
    images: tuple[Path, ...] = ()
    key: int | str | None = None


@dataclass(frozen=True)
class MatchedTexts:
    """Two texts that belong together, and negatives that do not."""

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """A question about a picture; `answer` is the most frequent, `votes` weigh several, `kind` groups
    reports, `key` is the official id."""

    image: Path
    question: str
    answer: str
    kind: str
    votes: tuple[tuple[str, float], ...] = ()
    key: int | str | None = None


@dataclass(frozen=True)
class Reference:
    """A phrase and at least one right box, fractions of the picture's sides."""

    image: Path
    phrase: str
    boxes: tuple[Corners, ...]


@dataclass(frozen=True)
class CaptionedImage:
    """A picture with its caption; in the hard split captions that do not fit, and what they change."""

    image: Path
    caption: str
    distractors: tuple[str, ...] = ()
    edit: str = ""


@dataclass(frozen=True)
class ImageCaptions:
    """A picture with all of its captions, one at least, and its id in official files."""

    image: Path
    captions: tuple[str, ...]
    key: int | str | None = None


@dataclass(frozen=True)
class CaptionPuzzle:
    """Pictures and captions that differ in little: caption i is of picture i, those beyond of none. Of the
    pictures a `box` (left, top, right, bottom in pixels) is shown, or all. `kind` is that of a mean over
    kinds (empty: in none), `key` is the same in rows that are not independent."""

    images: tuple[Path, ...]
    captions: tuple[str, ...]
    kind: str = ""
    key: int | str | None = None
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class CategoryImage:
    """A picture of one object, its category, and the object's name; empty if the file does not say."""

    image: Path
    label: str
    shown: str = ""


@dataclass(frozen=True)
class PhrasePresence:
    """A phrase, whether it is true of the picture, and its group in reports."""

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


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture, its class or labels, and file and row that name it, for messages."""

    image: Path
    label: str | tuple[str, ...]
    place: str = field(default="", compare=False, repr=False)

    @property
    def shown(self) -> str:
        """The picture, behind its place where that is known."""
        return f"{self.place}: {self.image}" if self.place else str(self.image)


def images_of(row: object) -> tuple[Path, ...]:
    """The pictures of a typed row of any task; none of a row of texts."""
    found = [getattr(row, name) for name in ("image", "wrong_image") if hasattr(row, name)]
    return (*found, *getattr(row, "images", ()))


def texts_of(row: object) -> tuple[str, ...]:
    """The texts of a typed row with a text, a pair, a phrase or a question with its answers; else none."""
    found = [getattr(row, name, None) for name in ("text", "second", "phrase", "question", "answer")]
    found += [answer for answer, _ in getattr(row, "votes", ())]
    return tuple(text for text in found if text is not None)


@dataclass(frozen=True)
class SplitRows(Generic[Row]):
    """Typed rows by split; `others` are more test splits, `labels` the classes in order of the outputs,
    `answers` those that are ranked (empty: the training rows' most frequent)."""

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
    """Meaning of cells that a table does not say: boxes, labels and their separator."""

    box_format: BoxFormat = BoxFormat.XYWH
    box_unit: BoxUnit = BoxUnit.PIXEL
    label_kind: LabelKind = LabelKind.ONE
    separator: str = "|"

    def label(self, row: TableRow) -> str | tuple[str, ...]:
        """The class or labels of a row; UserError names file, row and column."""
        several = self.label_kind is LabelKind.SEVERAL
        return row.labels("label", self.separator) if several else row.label("label")


@dataclass(frozen=True)
class Case:
    """A row and its prediction in words; the worst have most `badness`; boxes are fractions of the first
    picture."""

    truth: str
    predicted: str
    right: bool
    badness: float
    texts: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Path, ...] = ()
    true_boxes: tuple[Corners, ...] | None = None
    predicted_box: Corners | None = None
    confidence: float | None = None


# ---------------------------------------------------------------- the task files of the embedded world
# Tables as any user's are. What is no table of a task of its own name is read here; the others by their task,
# as `VqaTask.read`.
_IMAGE, _CAPTION = Field("image", "path of the picture"), Field("caption", "what it shows")
PAIR_COLUMNS = "text=text_a,second=text_b"
"""What the columns of pairs of texts are called, as `--columns` has it."""
_PAIR = (
    Field("text", "the first text"),
    Field("text_pair", "the second text", also=("second",)),
    Field("label", "true or false"),
)


def read_text_pairs(path: Path) -> list[LabelledText]:
    """Rows `{"text_a", "text_b", "label": true | false}`, of the classes `false` and `true`."""
    rows = map(_with_truth, _rows(path, *_PAIR, columns=PAIR_COLUMNS))
    return [LabelledText(row.text("text"), row.label("label"), row.text("text_pair")) for row in rows]


def read_image_pairs(path: Path) -> list[LabelledText]:
    """Rows `{"images": [left, right], "text", "label": true | false}`."""
    found = list[LabelledText]()
    for row in map(_with_truth, _rows(path, *REASONING.fields)):
        left, right = (one.path("images") for one in row.two(REASONING.fields[0]))
        text, truth = row.text("text"), row.label("label") == TRUTH[True]
        found.append(LabelledText(text, truth, images=(left, right)))
    return found


def read_captioned(path: Path) -> list[CaptionedImage]:
    """Rows `{"image", "caption"}` and, in the hard split, `"distractors": [..]` and `"edit"`."""
    found, more = list[CaptionedImage](), (Field("distractors", optional=True), Field("edit", optional=True))
    for row in _rows(path, _IMAGE, _CAPTION, *more):
        image, caption = row.path("image"), row.text("caption")
        distractors = tuple(row.texts("distractors")) if "distractors" in row else ()
        found.append(CaptionedImage(image, caption, distractors, _text_or_none(row, "edit")))
    return found


def read_masked(path: Path) -> list[MaskedRow]:
    """Rows `{"image", "caption", "wrong_image"}`."""
    rows = _rows(path, _IMAGE, _CAPTION, Field("wrong_image", "path of a picture of other things"))
    return [MaskedRow(row.path("image"), row.text("caption"), row.path("wrong_image")) for row in rows]


def read_categories(path: Path) -> list[CategoryImage]:
    """Rows `{"image", "label"}` and, in worlds that say it, `"object"`."""
    rows = _rows(path, _IMAGE, Field("label", "its category"), Field("object", optional=True))
    return [
        CategoryImage(row.path("image"), row.label("label"), _text_or_none(row, "object")) for row in rows
    ]


def read_presence(path: Path) -> list[PhrasePresence]:
    """Rows `{"image", "phrase", "present": true | false}` and perhaps `"kind"`."""
    fields = Field("phrase", "what may be there"), Field("present", "true or false")
    rows = [_with_truth(row, "present") for row in _rows(path, _IMAGE, *fields, Field("kind", optional=True))]
    found = list[PhrasePresence]()
    for row in rows:
        image, phrase, present = row.path("image"), row.text("phrase"), row.label("present") == TRUTH[True]
        found.append(PhrasePresence(image, phrase, present, _text_or_none(row, "kind")))
    return found


def _text_or_none(row: TableRow, field: str) -> str:
    return row.text(field) if field in row else ""


def _rows(path: Path, *fields: Field, columns: str = "") -> list[TableRow]:
    named = ColumnMap(ColumnMap.parse(columns).columns, FILE_REMEDY)
    return read_table(path, fields, named, path.with_suffix(".pictures"))


def _with_truth(row: TableRow, field: str = "label") -> TableRow:
    """The row, of which a field is true or false."""
    if row.label(field) not in TRUTH:
        raise row.error(field, "is not true or false")
    return row
