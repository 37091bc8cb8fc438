"""Steps of a tiny model on one global batch, which any number of processes share."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from tests.modeling.build import random_batch, spread, tiny_model
from tests.training.support import AfterUpdate, config, train
from xfm.config.data import DataConfig
from xfm.config.model import MimTarget
from xfm.config.phases import Phase
from xfm.config.training import (
    ActivationCheckpointing,
    Change,
    LossConfig,
    NegativesConfig,
    OptimConfig,
    Strategy,
)
from xfm.data.schema import Batch, MaskedTokens, PairBatch, RegionBatch, TensorFields, Tokens
from xfm.models.gradients import PRETRAINING, EncoderName, GradientPolicy, Objective
from xfm.training.collectives import part
from xfm.training.distributed import whole
from xfm.training.pretraining_step import PretrainingStep
from xfm.training.trainer import Trainer

PAIRS, PICTURES, ROWS, TEXTS = 5, 5, 9, 7
Fields = TypeVar("Fields", bound=TensorFields)
Texts = TypeVar("Texts", PairBatch, RegionBatch)


def global_batch(step: int) -> Batch:
    """Rows in the order of their pictures, duplicates among them, and as many masks as it comes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(100 + step)
        found = random_batch(PAIRS, PICTURES, ROWS)
        text = random_batch(TEXTS).pair
        image = random_batch(5).pair
    assert found.pair
    assert found.region
    assert found.image
    assert text
    assert image
    assert image.patch_mask is not None
    pair = replace(
        found.pair,
        image_identity=torch.tensor([0, 1, 2, 3, 0]),  # the first and the last show one picture
        text_identity=torch.tensor([0, 1, 1, 3, 4]),
    )
    region = replace(
        found.region,
        image_index=torch.arange(ROWS) * PICTURES // ROWS,
        text_identity=torch.tensor([0, 1, 2, 3, 4, 5, 0, 7, 8]),
        is_image=torch.arange(ROWS) % 4 == 0,
    )
    images = replace(found.image, pixels=image.pixels, patch_mask=image.patch_mask)
    words = replace(found.text, tokens=text.tokens, masked=text.masked) if found.text else None
    return replace(found, step=step, pair=pair, region=region, image=images, text=words)


def share(batch: Batch, rank: int, world: int) -> Batch:
    """What one of the processes has of a batch; its texts are padded to the longest of its own."""

    def rows(of: Fields, count: int) -> Fields:
        own = part(count, rank, world)
        return of.map(lambda tensor: tensor[own])

    text, image, pair, region = batch.text, batch.image, batch.pair, batch.region
    return replace(
        batch,
        text=text and rows(text, len(text.tokens.ids)),
        image=image and rows(image, len(image.pixels)),
        pair=pair and short(rows(pair, len(pair.pixels))),
        region=region and short(regions(region, part(len(region.pixels), rank, world))),
    )


def regions(batch: RegionBatch, pictures: slice) -> RegionBatch:
    """The rows of some of the pictures."""
    index = batch.image_index
    own = (index >= pictures.start) & (index < pictures.stop)
    kept: RegionBatch = replace(batch, pixels=torch.zeros(len(own))).map(lambda tensor: tensor[own])
    return replace(kept, pixels=batch.pixels[pictures], image_index=kept.image_index - pictures.start)


def short(batch: Texts) -> Texts:
    length = int(batch.tokens.mask.sum(1).max())
    tokens = Tokens(batch.tokens.ids[:, :length], batch.tokens.mask[:, :length])
    masked = MaskedTokens(batch.masked.ids[:, :length], batch.masked.positions, batch.masked.labels)
    return replace(batch, tokens=tokens, masked=masked)


def joined(batches: list[Batch]) -> Batch:
    """One batch of the rows of several."""

    def cat(parts: list[Any]) -> Any:
        first = parts[0]
        if isinstance(first, Tensor):
            return torch.cat(parts)
        names = [name for name, value in vars(first).items() if isinstance(value, Tensor | TensorFields)]
        return replace(first, **{name: cat([getattr(one, name) for one in parts]) for name in names})

    shifted = [
        replace(batch, region=replace(batch.region, image_index=batch.region.image_index + place * PICTURES))
        for place, batch in enumerate(batches)
        if batch.region
    ]
    return cat(shifted)


LEAKY = GradientPolicy({**PRETRAINING.reaches, Objective.ITM: frozenset(EncoderName)})
"""Matching reaches language too, so that borrowed texts have gradients."""


@dataclass(frozen=True)
class Case:
    """A way to train."""

    gradient_accumulation_steps: int = 1
    sequential_sources: bool = False
    strategy: Strategy = Strategy.DDP
    activation_checkpointing: ActivationCheckpointing = ActivationCheckpointing.NONE
    block: int = 0
    leaky: bool = False
    lr: float = 1e-7
    steps: int = 2
    memory: int = 0


@dataclass(frozen=True)
class OnePhase:
    """What a step asks of the data of a run without phases."""

    weights: LossConfig
    negatives: NegativesConfig = field(default_factory=NegativesConfig)

    def phase_number(self, batch: int) -> int:
        return 0

    def phase(self, batch: int) -> Phase:
        return Phase(1.0, DataConfig(), self.weights, self.negatives)

    def begun(self, batch: int) -> list[Phase]:
        return []


def run_case(case, rank=0, world=1, folder=None, resume=False, together=1, device="cpu"):
    """Train, and give the gradients of every step by number and name.

    Args:
        case: how.
        rank, world: this process, and how many share each batch.
        folder: of the run.
        resume: go on with it.
        together: so many global batches are joined to one.
        device: where it runs; gradients are given on the CPU.
    """
    model = tiny_model()
    spread(model, 0.05)
    model.temperature.data.fill_(0.07)
    negatives = NegativesConfig(min_probability=0.01, pool_size=case.block, queue_size=case.memory)
    data: Any = OnePhase(LossConfig(), negatives)
    policy = LEAKY if case.leaky else PRETRAINING
    step = PretrainingStep([policy], MimTarget.STATES, data, case.sequential_sources)
    found: dict[str, Tensor] = {}
    done = 0

    def batches(start: int, stop: int) -> Iterator[Batch]:
        for number in range(start, stop):
            several = [global_batch(number * together + place) for place in range(together)]
            yield share(several[0] if together == 1 else joined(several), rank, world)

    def after_step() -> None:
        nonlocal done
        done += 1
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[f"{done}:{name}"] = whole(parameter.grad).cpu().clone()

    training = config(
        case.steps,
        gradient_accumulation_steps=case.gradient_accumulation_steps,
        sequential_sources=case.sequential_sources,
        strategy=case.strategy,
        activation_checkpointing=case.activation_checkpointing,
        save_every=2,
        keep=9,
        optim=OptimConfig(lr=case.lr, warmup=1, clip=0),
    )
    result = train(
        model,
        step,
        batches,
        training,
        folder,
        stateful={"negatives": step},
        callbacks=[AfterUpdate(after_step)],
        resume=resume,
        device=device,
        allowed=frozenset({Change.PROCESSES}),
    )
    return result, found


CASES = {
    "ddp": Case(leaky=True, block=2),
    "ddp-recomputed": Case(activation_checkpointing=ActivationCheckpointing.FULL),
    "ddp-accumulated": Case(gradient_accumulation_steps=2),
    "ddp-sequential-sources": Case(sequential_sources=True, block=2, leaky=True),
    "fsdp": Case(strategy=Strategy.FSDP, activation_checkpointing=ActivationCheckpointing.SELECTIVE),
    "fsdp-sequential-sources": Case(strategy=Strategy.FSDP, sequential_sources=True),
    "fsdp-accumulated": Case(
        strategy=Strategy.FSDP,
        gradient_accumulation_steps=2,
        activation_checkpointing=ActivationCheckpointing.FULL,
    ),
}
EVERY = 4
"""Of so many cases `make test` tries one."""
SAVED = Case(steps=4, lr=1e-3)
REMEMBERED = Case(steps=4, lr=1e-3, memory=6)


def as_numbers(result: Trainer[Any]) -> dict[str, float]:
    """The losses and metrics of the last step."""
    last = result.last
    named = {"loss": last["loss"], "grad_norm": last["grad_norm"]}
    return named | {f"losses/{name}": value for name, value in last["losses"].items()} | dict(last["metrics"])
