"""Which settings a task reads: another one is refused, so that nobody believes that it did something."""

from operator import attrgetter

from xfm.config.finetune import FinetuneConfig
from xfm.config.finetune_file import special_settings
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_specs
from xfm.errors import UserError

_DEFAULTS = FinetuneConfig()


def check_applicable(spec: TaskSpec, config: FinetuneConfig) -> None:
    """Refuse settings that differ from their defaults and that the task would not read.

    Raises:
        UserError: there is one; names it, and the tasks that read it.
    """
    for name in special_settings():
        read = attrgetter(name)
        if spec.reads(name) or read(config) == read(_DEFAULTS):
            continue
        tasks = ", ".join(one.name for one in task_specs(tunable=True) if one.reads(name))
        raise UserError(f"{name} is of no use in {spec.name}, only in {tasks}; leave it out")
