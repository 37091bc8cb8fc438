"""Short fine-tuning of a task through the project's training loop."""

from dataclasses import dataclass

import torch

from xfm.config.evaluation import FineTuneConfig
from xfm.config.training import OptimConfig, Precision, TrainingConfig
from xfm.objectives.losses import Losses
from xfm.tasks.base import BatchT, Prediction, Row, Task
from xfm.training.loop import train


@dataclass(frozen=True)
class FineTuning:
    """How a fine-tuning went.

    Attributes:
        losses: total loss of each step.
        seconds: wall-clock time of the training.
    """

    losses: list[float]
    seconds: float


def fine_tune(
    task: Task[Row, BatchT, Prediction], config: FineTuneConfig, progress: bool = False
) -> FineTuning:
    """Train `task.module` in place on the task's training rows; nothing is written to disk.

    Args:
        task: built with the batch size, seed, precision and device it is to be trained with.
        config: steps, learning rate and schedule.
        progress: show a bar.

    Raises:
        UserError: the loss was NaN or infinite several times in a row.
        Interrupted: SIGINT or SIGTERM came.
    """
    history: list[torch.Tensor] = []

    def losses(batch: BatchT, generator: torch.Generator) -> Losses:
        result = task.loss(batch, generator)
        history.append(result.total.detach().float())
        return result

    result = train(
        task.module,
        losses,
        task.batches,
        training_config(config, task.settings.seed, task.settings.precision),
        is_new=task.is_new,
        origins=lambda batch: range(task.settings.batch_size),
        progress=progress,
        tensorboard=False,
        device=task.settings.device,
    )
    task.module.eval()
    return FineTuning(torch.stack(history).tolist(), result.seconds)


def training_config(config: FineTuneConfig, seed: int, precision: Precision) -> TrainingConfig:
    """The loop's configuration of a short fine-tuning."""
    optim = OptimConfig(
        lr=config.lr,
        muon_lr=config.muon_lr,
        new_lr_multiplier=config.new_lr_multiplier,
        weight_decay=config.weight_decay,
        warmup=round(config.steps * config.warmup),
    )
    return TrainingConfig(
        steps=config.steps,
        seed=seed,
        precision=precision,
        optim=optim,
        save_every=0,
        log_every=max(1, config.steps // 10),
    )
