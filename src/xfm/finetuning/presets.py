"""The settings of a fine-tuning: those that fit rows and model, what a preset decides, what is refused."""

import math
from dataclasses import fields, replace
from operator import attrgetter

from xfm.config.finetune import FinetuneConfig, Preset, TuningMode
from xfm.config.finetune_file import special_settings
from xfm.config.image import Operations
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_specs
from xfm.config.training import TrainingConfig
from xfm.core.errors import UserError
from xfm.finetuning.probing import has_probe
from xfm.tasks.base import HiddenInput, TaskSettings

FEW, MANY = 300, 30_000
"""Rows between which the number of epochs falls from `EPOCHS[0]` to `EPOCHS[1]`."""
EPOCHS = (30.0, 3.0)
LENGTH = {Preset.FAST: 1 / 3, Preset.GOOD: 1.0, Preset.BEST: 2.0}
"""What a preset makes of that number."""
LOOKS = 20
BASE_RATE, BASE_WIDTH = 4e-5, 768
"""Learning rate of a model of that width; narrower ones take a proportionally larger one."""


def fitted(config: FinetuneConfig, rows: int, width: int) -> FinetuneConfig:
    """Every 0 that means "fits" filled in: few rows are seen often in small batches, many a few times in
    large ones."""
    thirtieth = round(math.log2(max(1, rows) / 30))  # as a power of two
    batch = config.batch_size or 2 ** min(6, max(3, thirtieth))
    steps = config.steps or max(60, math.ceil(rows / batch * epochs(rows) * LENGTH[config.preset]))
    return replace(
        config,
        batch_size=batch,
        steps=steps,
        lr=config.lr or BASE_RATE * BASE_WIDTH / width,
        evaluate_every=config.evaluate_every or max(1, math.ceil(steps / LOOKS)),
    )


def epochs(rows: int) -> float:
    """How often every row is seen: falls with the logarithm of their number."""
    place = math.log(max(1, rows) / FEW) / math.log(MANY / FEW)
    return EPOCHS[0] * (EPOCHS[1] / EPOCHS[0]) ** min(1.0, max(0.0, place))


def task_settings(config: FinetuneConfig, blanked: HiddenInput = HiddenInput.NOTHING) -> TaskSettings:
    """What the task is told of a fitted configuration: the settings of the same names."""
    shared = {field.name for field in fields(TaskSettings)} & {field.name for field in fields(config)}
    return TaskSettings(
        blanked=blanked, label_kind=config.label_kind, **{name: getattr(config, name) for name in shared}
    )


def training_config(config: FinetuneConfig, settings: TaskSettings, minutes: float = 0.0) -> TrainingConfig:
    """What the loop is told of a fitted configuration, of the task's settings, and of a clock."""
    return TrainingConfig(
        steps=config.steps,
        minutes=minutes,
        seed=settings.seed,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        precision=settings.precision,
        optim=config.optim(config.steps),
        save_every=max(config.evaluate_every, config.steps // 10),
        keep=1,
        ema=config.average or 0.0,
        log_every=max(1, config.steps // 100),
        report_to=config.report_to,
    )


# ---------------------------------------------------------------- presets
AVERAGE = 0.999
"""Of `best`: the average follows faster in the first steps, see `EMA`."""


def is_probe(config: FinetuneConfig, spec: TaskSpec) -> bool:
    """Whether a run fits a probe and trains nothing else."""
    return config.preset is Preset.FAST and has_probe(spec)


def decided(config: FinetuneConfig, spec: TaskSpec) -> FinetuneConfig:
    """What the preset decides in place of what nobody gave."""
    fast = config.preset is Preset.FAST
    read = [name for name in TUNED if spec.reads(f"tune.{name}") and not is_probe(config, spec)]
    tune = {
        name: getattr(config.tune, name)
        or (TuningMode.FREEZE if fast and name != "fusion" else TuningMode.FULL)
        for name in read
    }
    average = config.average
    if average is None:
        average = AVERAGE if config.preset is Preset.BEST else 0.0
    return replace(config, average=average, tune=replace(config.tune, **tune))


TUNED = ("language", "vision", "fusion")
DECIDED = ("batch_size", "steps", "lr", "max_tokens", "evaluate_every", "average")


def decisions(given: FinetuneConfig, fit: FinetuneConfig, spec: TaskSpec) -> dict[str, str]:
    """The settings that nobody gave, as rows, model and preset decided them."""
    if is_probe(fit, spec):
        return {"encoders": "frozen", "head": "one linear layer"}
    read = [name for name in DECIDED if name != "max_tokens" or spec.has_texts]
    values = {name: getattr(fit, name) for name in read if getattr(fit, name) and not getattr(given, name)}
    found = {name: f"{one:.3g}" if isinstance(one, float) else str(one) for name, one in values.items()}
    frozen = [name for name in TUNED if getattr(fit.tune, name) is TuningMode.FREEZE]
    return found | {f"tune.{name}": "freeze" for name in frozen if getattr(given.tune, name) is None}


# ---------------------------------------------------------------- what a task reads
_DEFAULTS = FinetuneConfig()


def check_applicable(spec: TaskSpec, config: FinetuneConfig) -> None:
    """Refuse settings that the task would not read; UserError names the tasks that do."""
    image = config.image
    if spec.draws and image.rand_augment and image.operations is not Operations.COLOUR:
        raise UserError(
            f"image.operations {image.operations} move pixels, after which no box of {spec.name} "
            "is true: choose colour"
        )
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
