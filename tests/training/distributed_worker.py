"""What two processes compute; test_distributed.py starts it with torchrun and compares.

Usage: distributed_worker.py FOLDER
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from tests.modeling.build import random_batch, tiny_model
from tests.training.clock import Clock
from tests.training.support import Line, Numbers, config, numbers, train
from xfm.config.training import LossConfig
from xfm.data.schema import Batch
from xfm.models.gradients import PRETRAINING
from xfm.models.xfm import XFM
from xfm.objectives.global_batch import global_batches_of
from xfm.objectives.losses import Losses
from xfm.objectives.step import pretraining_losses
from xfm.training import distributed
from xfm.training.clock import TrainingClock
from xfm.training.collectives import DistributedGroup, gather_rows


def half(rank: int, world: int):
    """Batches of one process: its share of the rows."""

    def batches(start: int, stop: int) -> Iterator[Numbers]:
        for batch in numbers(start, stop):
            rows = slice(rank * 8 // world, (rank + 1) * 8 // world)
            yield Numbers(batch.x[rows], batch.y[rows], batch.origins[rows])

    return batches


def contrastive_gradient(rank: int, world: int) -> list[float]:
    """Gradient of a loss over all rows; each process encodes some, and DDP takes the mean over processes."""
    torch.manual_seed(0)
    encoder, x, y = nn.Linear(3, 4), torch.randn(8, 3), torch.randn(8, 4)
    bounds = [0, 8] if world == 1 else [0, 3, 8]  # shares need not be equal
    rows = slice(bounds[rank], bounds[rank + 1])
    everyone = gather_rows(encoder(x[rows]))
    nn.functional.cross_entropy(everyone @ y.t(), torch.arange(8)).backward()
    assert encoder.weight.grad is not None
    return distributed.mean(encoder.weight.grad).flatten().tolist()


def pretraining_step(world: int) -> float:
    """A step of the real model with one kind of data missing, so that some parameters have no gradient."""
    model = tiny_model()

    def losses(model: XFM, batch: Batch, generator: torch.Generator) -> Losses:
        (whole,) = global_batches_of([batch], DistributedGroup())
        return pretraining_losses(model, batch, PRETRAINING, LossConfig(), generator, whole)

    def batches(start: int, stop: int) -> Iterator[Batch]:
        for step in range(start, stop):
            torch.manual_seed(step)
            yield replace(random_batch(), text=None)

    train(model, losses, batches, config(2), device="cpu")
    return sum(p.detach().double().abs().sum().item() for p in model.parameters())


def by_clock(rank: int, world: int) -> list[tuple[float, int]]:
    """What a process takes for the moments of a run whose clocks disagree."""
    clock = TrainingClock(seconds=10, ends=(0.5,), timer=Clock([1.0 + 5 * rank]))
    train(Line(), Line.losses, half(rank, world), config(3), clock=clock, device="cpu")
    return [(moment.share, moment.phase) for moment in clock.moments]


def main() -> None:
    folder = Path(sys.argv[1])
    with distributed.processes("cpu") as process:
        rank, world = process.rank, process.world
        found: dict[str, object] = {
            "world": world,
            "here": distributed.world_here(),
            "gathered": gather_rows(torch.tensor([[rank]])).flatten().tolist(),
            "collected": distributed.collect(rank),
            "from_first": distributed.from_first(f"rank {rank}"),
            "largest": distributed.largest(torch.tensor([rank, -rank])).tolist(),
            "contrastive": contrastive_gradient(rank, world),
            "by_clock": distributed.collect(by_clock(rank, world)),
            "pretraining": distributed.collect(pretraining_step(world)),
        }
        model = Line()
        training = config(6, save_every=3, keep=5)
        train(model, Line.losses, half(rank, world), training, folder / "run", device="cpu")
        found["weights"] = model.layer.weight.flatten().tolist()
        if process.is_first:
            (folder / "found.json").write_text(json.dumps(found))
        distributed.barrier()
    (folder / f"threads-{rank}.json").write_text(json.dumps(thread_names()))


def thread_names() -> list[str]:
    """Names of this process's threads, where the system lists them as Linux does."""
    return [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]


if __name__ == "__main__":
    main()
