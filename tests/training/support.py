"""Tiny runs for the tests of the loop."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.modeling.build import random_batch, tiny_config
from xfm.config.training import Change, LossConfig, OptimConfig, Precision, TrainingConfig
from xfm.data.schema import Batch, Origin, TensorFields
from xfm.models.gradients import PRETRAINING
from xfm.models.xfm import XFM
from xfm.objectives.losses import Losses
from xfm.objectives.step import pretraining_losses
from xfm.training.callbacks import Callback, Checkpoints, EarlyStopping, StepOutput
from xfm.training.logging import RunLog
from xfm.training.run_folder import LOG_FILE, RunFolder
from xfm.training.trainer import Trainer


@dataclass(frozen=True)
class Numbers(TensorFields):
    """Inputs and targets of a linear model."""

    x: Tensor
    y: Tensor
    origins: tuple[str, ...] = ()


def numbers(start: int, stop: int) -> Iterator[Numbers]:
    for step in range(start, stop):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 3, generator=generator)
        yield Numbers(x, x.sum(1, keepdim=True), tuple(f"shard.tar:{step}-{row}" for row in range(8)))


class AfterUpdate(Callback):
    """Calls a function after every step that changed the weights."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def on_step(self, trainer: Trainer[Any], output: StepOutput) -> None:
        if not output.skipped:
            self.function()


class Line(nn.Module):
    """A linear model with its loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(3, 1)

    def losses(self, batch: Numbers, generator: torch.Generator) -> Losses:
        error = (self.layer(batch.x) - batch.y).square().mean()
        return Losses(error, {"square": error}, {"noise": torch.rand((), generator=generator)})


def config(steps: int = 10, **changes: object) -> TrainingConfig:
    plain = TrainingConfig(
        steps=steps, precision=Precision.FP32, optim=OptimConfig(lr=1e-2, warmup=2), save_every=0, log_every=1
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def train(
    model: nn.Module,
    losses: Any,
    batches: Callable[[int, int], Iterator[Any]],
    training: TrainingConfig,
    folder: Path | None = None,
    *,
    resume: bool = False,
    finished: Callable[[int], bool] | None = None,
    callbacks: Sequence[Callback] = (),
    allowed: frozenset[Change] = frozenset(),
    **options: Any,
) -> Trainer[Any]:
    """Train with a log, checkpoints and, if asked for, an early end."""
    ending = [EarlyStopping(finished)] if finished else []
    called = [*callbacks, RunLog(False), *ending, Checkpoints()]
    kept = RunFolder(folder, {"training": training}, allowed=allowed) if folder else None
    return Trainer(model, losses, batches, training, kept, callbacks=called, **options).fit(resume)


def run_line(folder, training, model=None, batches=numbers, **options):
    """Train a linear model, a new one if none is given."""
    model = model or Line()
    return train(model, type(model).losses, batches, training, folder, **options)


def called(model: nn.Module) -> Callable[..., Any]:
    """What calls a function with the model, for losses that need no process group."""
    return lambda function, *arguments: function(model, *arguments)


def model_with_dropout() -> XFM:
    torch.manual_seed(1)
    plain = tiny_config()
    return XFM(
        replace(
            plain,
            vision=replace(plain.vision, drop_path=0.3),
            language=replace(plain.language, dropout=0.2),
            fusion=replace(plain.fusion, dropout=0.2),
        )
    )


def model_batches(start: int, stop: int) -> Iterator[Batch]:
    for step in range(start, stop):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 + step)
            batch = random_batch()
        yield replace(batch, step=step, origins=(Origin("shard.tar", f"{step:05d}"),))


def run_model(folder, training, batches=model_batches, **options):
    """Train a tiny real model: dropout, drop-path and drawn negatives use every random state."""
    model = model_with_dropout()

    def losses(model: XFM, batch: Batch, generator: torch.Generator) -> Losses:
        return pretraining_losses(model, batch, PRETRAINING, LossConfig(), generator)

    train(model, losses, batches, training, folder, **options)
    return model


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / LOG_FILE).read_text().splitlines()]


def logged_losses(folder: Path) -> dict[int, tuple]:
    """Everything computed in a step, by step."""
    return {
        line["step"]: (line["loss"], line["losses"], line["metrics"], line["grad_norm"], line["lr"])
        for line in logged(folder)
        if "event" not in line
    }


def files_of(checkpoint: Path) -> dict[str, bytes]:
    """Everything in a checkpoint but what names it: settings and the time."""
    return {
        path.name: path.read_bytes()
        for path in checkpoint.iterdir()
        if path.name not in {"state.json", "manifest.json"}
    }
