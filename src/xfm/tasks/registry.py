"""Every task that can be fine-tuned by its name."""

from typing import Any

from xfm.config.task import TaskKind
from xfm.errors import UserError
from xfm.tasks.captioning import CaptioningTask
from xfm.tasks.grounding import GroundingTask
from xfm.tasks.image_classification import ImageClassificationTask
from xfm.tasks.image_text_classification import ImageTextClassificationTask
from xfm.tasks.own import OwnTask
from xfm.tasks.reasoning import ReasoningTask
from xfm.tasks.retrieval import RetrievalTask
from xfm.tasks.text_classification import TextClassificationTask
from xfm.tasks.text_regression import TextRegressionTask
from xfm.tasks.vqa import VqaTask

TASKS: dict[TaskKind, type[OwnTask[Any, Any, Any]]] = {
    TaskKind.TEXT: TextClassificationTask,
    TaskKind.IMAGE: ImageClassificationTask,
    TaskKind.PAIR: ImageTextClassificationTask,
    TaskKind.RETRIEVAL: RetrievalTask,
    TaskKind.VQA: VqaTask,
    TaskKind.REASONING: ReasoningTask,
    TaskKind.GROUNDING: GroundingTask,
    TaskKind.CAPTIONING: CaptioningTask,
}


def task_class(kind: TaskKind, regression: bool = False) -> type[OwnTask[Any, Any, Any]]:
    """The task of a kind; texts may have values in place of classes.

    Raises:
        UserError: another task is to learn values.
    """
    if not regression:
        return TASKS[kind]
    if kind is not TaskKind.TEXT:
        raise UserError(f"--regression belongs to {TaskKind.TEXT}, not to {kind}; leave it out")
    return TextRegressionTask
