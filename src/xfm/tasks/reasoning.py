"""Two-picture reasoning: the text fused with each picture, both token-0 vectors -> MLP (spec: NLVR2)."""

from collections.abc import Hashable, Mapping
from typing import ClassVar

from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import REASONING
from xfm.data.tables import TableRow
from xfm.tasks.base import HiddenInput
from xfm.tasks.class_task import ClassTask
from xfm.tasks.rows import TRUTH, CellMeaning, LabelledText, SplitRows
from xfm.tasks.sampling import components


class ReasoningTask(ClassTask[LabelledText]):
    """Whether a sentence is true of two pictures, or another class; the baseline blanks the pictures."""

    spec: ClassVar[TaskSpec] = REASONING
    usual: ClassVar[tuple[str, ...]] = TRUTH
    hides: ClassVar[Mapping[HiddenInput, str]] = {HiddenInput.PICTURE: "text only"}

    def prepare(self, data: SplitRows[LabelledText]) -> None:
        super().prepare(data)
        self._components = components(row.images for row in data.train)

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> LabelledText:
        images = tuple(one.path("images") for one in row.two(REASONING.fields[0]))
        return LabelledText(row.text("text"), row.label("label"), images=images)

    def group(self, row: LabelledText) -> Hashable:
        """Sentences that share pictures, directly or not, belong together (in the baseline too)."""
        return self._components[row.images[0]]
