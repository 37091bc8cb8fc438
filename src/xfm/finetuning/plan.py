"""Learning rate, batch size and steps that fit the rows and the model, as task and loop are told of them."""

import math
from dataclasses import replace

from xfm.config.finetune import FinetuneConfig, Preset
from xfm.config.training import TrainingConfig
from xfm.tasks.base import Blanked, TaskSettings

FEW, MANY = 300, 30_000
"""Rows between which the number of epochs falls from `EPOCHS[0]` to `EPOCHS[1]`."""
EPOCHS = (30.0, 3.0)
LENGTH = {Preset.FAST: 1 / 3, Preset.GOOD: 1.0, Preset.BEST: 2.0}
"""What a preset makes of that number."""
LOOKS = 20
BASE_RATE, BASE_WIDTH = 4e-5, 768
"""Learning rate of a model of that width; narrower ones take a proportionally larger one."""


def fitted(config: FinetuneConfig, rows: int, width: int) -> FinetuneConfig:
    """The configuration with a number in place of every 0 that means "fits".

    Few rows are seen often in small batches, many rows a few times in large ones. The rules were chosen so
    that a fine-tuning of a few hundred rows takes some hundred steps; `docs/finetuning.md` has measurements.

    Args:
        config: what is given stays.
        rows: training rows.
        width: of the encoder that is tuned.
    """
    batch = config.batch_size or batch_size(rows)
    steps = config.steps or max(60, math.ceil(rows / batch * epochs(rows) * LENGTH[config.preset]))
    return replace(
        config,
        batch_size=batch,
        steps=steps,
        lr=config.lr or BASE_RATE * BASE_WIDTH / width,
        evaluate_every=config.evaluate_every or max(1, math.ceil(steps / LOOKS)),
    )


def batch_size(rows: int) -> int:
    """A power of two from 8 to 64, about a thirtieth of the rows."""
    return 2 ** min(6, max(3, round(math.log2(max(1, rows) / 30))))


def epochs(rows: int) -> float:
    """How often every row is seen: falls with the logarithm of their number."""
    place = math.log(max(1, rows) / FEW) / math.log(MANY / FEW)
    return EPOCHS[0] * (EPOCHS[1] / EPOCHS[0]) ** min(1.0, max(0.0, place))


def task_settings(config: FinetuneConfig, blanked: Blanked = Blanked.NOTHING) -> TaskSettings:
    """What the task is told of a fitted configuration."""
    return TaskSettings(
        blanked=blanked,
        batch_size=config.batch_size,
        rows_per_picture=config.rows_per_picture,
        max_tokens=config.max_tokens,
        label_smoothing=config.label_smoothing,
        image=config.image,
        image_head=config.image_head,
        prompt=config.prompt,
        label_kind=config.label_kind,
        threshold=config.threshold,
        class_weights=config.class_weights,
        seed=config.seed,
        workers=config.workers,
        precision=config.precision,
        device=config.device,
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
        log_every=max(1, config.steps // 100),
        ema=config.average or 0.0,
    )
