"""What a task of another package is checked for before it is known. Nothing here imports torch.

A task that names a setting or a module that there is not would end the work of every other task as well.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from importlib.util import find_spec

from xfm.config.image import ImageTrainingConfig
from xfm.config.task_spec import TaskSpec
from xfm.core.errors import suggest

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")

_PREDICT = """help task model input out columns keep pictures max_bad restart allow_urls batch_size
    precision device workers quiet gallery draw engine array processes unit_size"""
PREDICT = frozenset(_PREDICT.split())
"""Options of `xfm predict`, where the fields of an input and a pipeline's own options become options, too."""


def chosen_settings(specs: Iterable[TaskSpec]) -> tuple[str, ...]:
    """The settings that tasks name as their own, `image` by its fields."""
    named = [name for spec in specs for name in spec.settings if name != "image"]
    return tuple(dict.fromkeys([*named, *(f"image.{field.name}" for field in fields(ImageTrainingConfig))]))


def check_task(spec: object, own: Iterable[TaskSpec]) -> None:
    """Refuse an unusable task by a ValueError; settings that no `own` task has, all tasks read."""
    if not isinstance(spec, TaskSpec):
        raise ValueError(f"{spec!r} is no TaskSpec")
    known = ["image", *chosen_settings(own)]
    if wrong := [name for name in spec.settings if name not in known]:
        hint = suggest(wrong[0], known, f"a task names those of {', '.join(known)} that it reads")
        raise ValueError(f"{spec.name}: {wrong[0]} is no setting that only some tasks read; {hint}")
    for what in ("head", "task", "values", "pipeline"):
        reference: str = getattr(spec, what)
        module = reference.partition(":")[0]
        if reference and not _REFERENCE.fullmatch(reference):
            raise ValueError(f"{spec.name}: {what} is {reference!r}; write package.module:Class")
        if reference and not _is_there(module):
            raise ValueError(f"{spec.name}: {what} is {reference}, and there is no module {module}")
    given = is_dataclass(spec.options) and [one for one in fields(spec.options) if one.init]
    if given is False or any(one.default is one.default_factory is MISSING for one in given):
        raise ValueError(f"{spec.name}: options is no dataclass whose fields all have defaults")
    asked = [name for one in spec.inputs for name in (*one.names, *one.parts)]
    asked += [one.name for one in fields(spec.options)]
    if twice := [name for name in asked if name in PREDICT or asked.count(name) > 1]:
        raise ValueError(f"{spec.name}: xfm predict has an option {twice[0]} already; choose another name")


def _is_there(module: str) -> bool:
    try:
        return module in sys.modules or find_spec(module) is not None  # a script or notebook has no spec
    except (ImportError, ValueError):
        return False
