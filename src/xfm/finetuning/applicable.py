"""Which settings a task reads: another one is refused, so that nobody believes that it did something."""

from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter
from types import MappingProxyType

from xfm.config.finetune import FinetuneConfig
from xfm.config.image import ImageTrainingConfig
from xfm.config.task import TaskKind
from xfm.errors import UserError

_FUSED = frozenset({TaskKind.PAIR, TaskKind.REASONING, TaskKind.RETRIEVAL, TaskKind.GROUNDING, TaskKind.VQA})
_IMAGE = {f"image.{field.name}": frozenset({TaskKind.IMAGE}) for field in fields(ImageTrainingConfig)}
USED_BY: Mapping[str, frozenset[TaskKind]] = MappingProxyType(
    {
        **_IMAGE,
        "image.flip": frozenset({TaskKind.IMAGE, TaskKind.GROUNDING}),
        "image_head": frozenset({TaskKind.IMAGE}),
        "label_smoothing": frozenset({TaskKind.CAPTIONING}),
        "max_answers": frozenset({TaskKind.VQA}),
        "max_tokens": frozenset(TaskKind) - {TaskKind.IMAGE},
        "box_format": frozenset({TaskKind.GROUNDING}),
        "box_unit": frozenset({TaskKind.GROUNDING}),
        "rows_per_picture": _FUSED - {TaskKind.RETRIEVAL},
        "tune.language": _FUSED | {TaskKind.TEXT},
        "tune.vision": frozenset(TaskKind) - {TaskKind.TEXT},
        "tune.fusion": _FUSED,
    }
)
"""The tasks that read a setting, by its name; a setting that is not here is read by all."""

_DEFAULTS = FinetuneConfig()


def check_applicable(kind: TaskKind, config: FinetuneConfig) -> None:
    """Refuse settings that differ from their defaults and that the task would not read.

    Raises:
        UserError: there is one; names it, and the tasks that read it.
    """
    for name, kinds in USED_BY.items():
        read = attrgetter(name)
        if kind in kinds or read(config) == read(_DEFAULTS):
            continue
        tasks = ", ".join(one for one in TaskKind if one in kinds)
        raise UserError(f"{name} is of no use in {kind}, only in {tasks}; leave it out")
