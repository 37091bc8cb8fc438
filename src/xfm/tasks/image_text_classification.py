"""The class of a picture with a text: fusion token 0 -> MLP head."""

from collections.abc import Mapping
from typing import ClassVar

from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import IMAGE_TEXT_CLASSIFICATION
from xfm.data.tables import TableRow
from xfm.tasks.base import HiddenInput
from xfm.tasks.class_task import ClassTask
from xfm.tasks.rows import CellMeaning, LabelledText


class ImageTextClassificationTask(ClassTask[LabelledText]):
    """The class of picture and text together; baselines blank one of them."""

    spec: ClassVar[TaskSpec] = IMAGE_TEXT_CLASSIFICATION
    hides: ClassVar[Mapping[HiddenInput, str]] = {
        HiddenInput.PICTURE: "text only",
        HiddenInput.TEXT: "picture only",
    }

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> LabelledText:
        images = (row.path("image"),)
        return LabelledText(row.text("text"), meaning.label(row), images=images)
