"""The task files of the embedded world: tables as any user's are, with columns of names of their own.

What is no table of a task of its own name is read here; the others by their task, as `VqaTask.read`.
"""

from pathlib import Path

from xfm.config.task_spec import Field
from xfm.data.tables import ColumnMap, TableRow, read_table
from xfm.tasks.reasoning import ReasoningTask
from xfm.tasks.rows import (
    FILE_REMEDY,
    TRUTH,
    CaptionedImage,
    CategoryImage,
    CellMeaning,
    LabelledText,
    MaskedRow,
    PhrasePresence,
    PicturePair,
)
from xfm.tasks.text_classification import TextClassificationTask

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
    rows = _rows(path, *_PAIR, columns=PAIR_COLUMNS)
    return [TextClassificationTask.from_row(_with_truth(row), CellMeaning()) for row in rows]


def read_picture_pairs(path: Path) -> list[PicturePair]:
    """Rows `{"images": [left, right], "text", "label": true | false}`."""
    rows = _rows(path, *ReasoningTask.spec.fields)
    found = [ReasoningTask.from_row(_with_truth(row), CellMeaning()) for row in rows]
    return [PicturePair(one.images, one.text, one.label == TRUTH[True]) for one in found]


def read_captioned(path: Path) -> list[CaptionedImage]:
    """Rows `{"image", "caption"}` and, in the hard split, `"distractors": [..]` and `"edit"`."""
    rows = _rows(path, _IMAGE, _CAPTION, Field("distractors", optional=True), Field("edit", optional=True))
    return [
        CaptionedImage(
            row.path("image"),
            row.text("caption"),
            tuple(row.texts("distractors")) if "distractors" in row else (),
            _text_or_none(row, "edit"),
        )
        for row in rows
    ]


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
    return [
        PhrasePresence(
            row.path("image"),
            row.text("phrase"),
            row.label("present") == TRUTH[True],
            _text_or_none(row, "kind"),
        )
        for row in rows
    ]


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
