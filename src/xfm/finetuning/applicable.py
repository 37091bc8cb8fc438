"""Which settings a task reads: another one is refused, so that nobody believes that it did something."""

from operator import attrgetter

from xfm.config.finetune import FinetuneConfig
from xfm.config.finetune_file import special_settings
from xfm.config.image import ImageTrainingConfig, Operations, Sides
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_specs
from xfm.core.errors import UserError

_DEFAULTS = FinetuneConfig()


def check_applicable(spec: TaskSpec, config: FinetuneConfig) -> None:
    """Refuse settings that differ from their defaults and that the task would not read, or cannot do with.

    Raises:
        UserError: there is one; names it, and the tasks that read it.
    """
    _check_image(spec, config.image)
    for name in special_settings():
        read = attrgetter(name)
        if spec.reads(name) or read(config) == read(_DEFAULTS):
            continue
        tasks = ", ".join(one.name for one in task_specs(tunable=True) if one.reads(name))
        raise UserError(f"{name} is of no use in {spec.name}, only in {tasks}; leave it out")
    if config.gradient_accumulation_steps > 1 and not spec.task_class(config.regression).in_parts:
        raise UserError(
            f"gradient_accumulation_steps: {spec.name} contrasts all rows of a batch with one another, so "
            "that they must be there at once; leave it out, and for larger batches share them among "
            "processes (torchrun)"
        )


def _check_image(spec: TaskSpec, image: ImageTrainingConfig) -> None:
    """Refuse what would make texts or boxes untrue, or is not done."""
    if image.sides is Sides.SWAP and not spec.draws:
        raise UserError(
            "image.sides swap changes phrases that have a box, and no other texts: choose keep or ignore"
        )
    if spec.draws and image.rand_augment and image.operations is not Operations.COLOUR:
        raise UserError(
            f"image.operations {image.operations} move pixels, after which no box of {spec.name} "
            "is true: choose colour"
        )
