"""A whole task in one file, outside the package: does a word name the colour of a picture?"""

import torch
from torch import Tensor, nn

import xfm
from xfm.config.pipelines import TopK
from xfm.config.task import TaskConfig
from xfm.config.task_spec import Field, FieldKind, TextRule
from xfm.data.tables import TableRow
from xfm.models.task_models import Classifier, HeadInputs
from xfm.models.xfm import XFM
from xfm.tasks.base import HiddenInput
from xfm.tasks.class_task import ClassTask
from xfm.tasks.rows import CellMeaning, LabelledText

SPEC = xfm.TaskSpec(
    name="colour-match",
    summary="whether a word names the colour of a picture",
    fields=(
        Field("image", holds=FieldKind.PICTURE),
        Field("word", "the name of a colour", also=("text",)),
        Field("label", holds=FieldKind.LABEL, target=True),
    ),
    also=("colour",),
    text=TextRule.WRITTEN,
    encoders=("language", "vision"),
    classes=True,
    options=TopK,
    head=f"{__name__}:ColourHead",
    task=f"{__name__}:ColourTask",
)


class ColourHead(Classifier):
    """Token 0 of the word and slot 0 of the picture, side by side -> a linear layer."""

    def __init__(self, model: XFM, task: TaskConfig) -> None:
        super().__init__(model, task)
        width = model.config.language.width + model.config.vision.width
        self.head = nn.Linear(width, task.classes)

    def classify(self, rows: HeadInputs) -> Tensor:
        """[R, C] logits."""
        text = self.model.encode_text(rows.text.ids, rows.text.mask)[:, 0]
        return self.head(torch.cat([text, rows.of_rows(rows.pictures[:, 0])], dim=-1))


class ColourTask(ClassTask[LabelledText]):
    """What a row is; batches, loss, metrics, the report and the pipeline follow."""

    spec = SPEC
    hides = {HiddenInput.PICTURE: "word only"}  # noqa: RUF012

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> LabelledText:
        """Fields `image`, `word` and `label`."""
        images = (row.path("image"),)
        return LabelledText(row.text("word"), row.label("label"), images=images)


xfm.register_task(SPEC)
