"""Rows of own data: how their cells are meant, and what a model made of them."""

from dataclasses import dataclass
from pathlib import Path

from xfm.config.labels import LabelKind
from xfm.data.boxes import BoxFormat, BoxUnit
from xfm.data.tables import TableRow
from xfm.tasks.rows import Corners


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
