"""The pair step of `base` beside the published algorithm: time in fp32 and bf16, and what backward needs.

    python -m benchmarks.step [--batch 8] [--rounds 7] [--size small] [--json step.json]

A step is forward and backward pass of the losses of pairs: contrast, matching with hard negatives, masked
captions and masked patches. The peer is the published algorithm, composed of transformers' layers
(`benchmarks/published_step.py`); both have the same weights and read the same batch, of pictures of 224
pixels and captions of 8 to 20 words, padded to 30 tokens. They alternate within one process, in training
mode, with dropout and drop-path as published.

- step/fp32, step/bf16: the ratio is the median over the rounds of theirs / ours: above 1 ours is faster.
  `processor` is the same of processor seconds, which other programs change less.
- activations: bytes of the storages that are kept for the backward pass at the end of the forward pass in
  fp32, parameters excluded, each storage once; the ratio is ours / theirs: below 1 ours keeps less.
"""

import argparse
import json
import os
import platform
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from benchmarks.encoders import Comparison
from benchmarks.published_step import published_model
from torch import Tensor, nn

from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.config.training import LossConfig, Precision
from xfm.data.schema import Batch, MaskedTokens, PairBatch, Tokens
from xfm.modeling.gradients import PRETRAINING
from xfm.modeling.precision import autocast
from xfm.modeling.xfm import XFM
from xfm.objectives.step import pretraining_losses
from xfm.training.memory import prepare_process

PEER = "the published step of transformers' layers"
WORDS, LENGTH, MASKS, PATCHES_MASKED = (8, 20), 30, 15, 75
SIZES = {
    "base": ModelConfig(),
    "small": ModelConfig(
        vision=VisionConfig(width=192, depth=4, heads=4),
        language=LanguageConfig(width=192, depth=4, heads=4, mlp_width=768),
        fusion=FusionConfig(depth=4, heads=4, mlp_width=768),
    ),
}

Forward = Callable[[], Tensor]
"""Gives the summed losses."""


@dataclass(frozen=True)
class Measured(Comparison):
    """One comparison, in seconds or MiB; `processor` is its ratio of processor seconds, None of MiB."""

    processor: float | None = None


def random_pairs(config: ModelConfig, count: int) -> PairBatch:
    """Pairs as a loader gives them: half of the words are masked, 15 at most, and 75 patches."""
    mask = torch.arange(LENGTH) < torch.randint(WORDS[0] + 2, WORDS[1] + 3, (count, 1))  # begin and end, too
    lengths, vocabulary = mask.sum(1), config.language.vocab_size
    ids = torch.randint(4, vocabulary - 1, mask.shape).masked_fill_(~mask, 1)
    ids[:, 0] = 0
    ids[torch.arange(count), lengths - 1] = 2
    inside = torch.rand(mask.shape).masked_fill_(~mask, 2)
    inside[:, 0] = inside[torch.arange(count), lengths - 1] = 2
    positions = inside.argsort(1)[:, :MASKS]  # words first, in random order
    asked = torch.arange(MASKS) < (lengths[:, None] / 2).round().clamp(1, MASKS)
    positions = positions.masked_fill(~asked, 0)
    labels = ids.gather(1, positions).masked_fill(~asked, -100)
    hidden = torch.zeros_like(mask).scatter(1, positions, value=True)
    hidden[:, 0] = False
    masked = MaskedTokens(ids.masked_fill(hidden, vocabulary - 1), positions, labels)
    patches, side = config.seeing.patches, config.seeing.image_size
    patch_mask = torch.rand(count, patches).argsort(1) < PATCHES_MASKED
    own = torch.arange(count)
    return PairBatch(torch.randn(count, 3, side, side), Tokens(ids, mask), masked, own, own, patch_mask)


def our_losses(model: XFM, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
    """The losses of pairs by name, as pre-training computes them."""
    return pretraining_losses(model, Batch(0, pair=batch), PRETRAINING, LossConfig(), generator).parts


class Steps:
    """Both models on one batch."""

    def __init__(self, config: ModelConfig, count: int) -> None:
        torch.manual_seed(0)
        self.ours = XFM(config).train()
        self.theirs = published_model(self.ours)
        self.batch = random_pairs(config, count)

    def forwards(self) -> tuple[tuple[Forward, nn.Module], tuple[Forward, nn.Module]]:
        """The forward pass of ours and of the peer, with the model of each."""

        def ours() -> Tensor:
            return torch.stack([*our_losses(self.ours, self.batch, torch.Generator()).values()]).sum()

        def theirs() -> Tensor:
            return torch.stack([*self.theirs.losses(self.batch, torch.Generator()).values()]).sum()

        return (ours, self.ours), (theirs, self.theirs)

    def measured(self, rounds: int) -> Iterator[Measured]:
        """All comparisons."""
        forwards = self.forwards()
        for precision in (Precision.FP32, Precision.BF16):
            steps = [stepping(forward, module, precision) for forward, module in forwards]
            yield compared(f"step/{precision.value}", steps[0], steps[1], rounds)
        ours, theirs = (kept_bytes(forward, module) / 2**20 for forward, module in forwards)
        yield Measured("activations", PEER, round(ours / theirs, 3), round(ours, 1), round(theirs, 1), "MiB")


def compared(name: str, ours: Callable[[], None], theirs: Callable[[], None], rounds: int) -> Measured:
    """Medians of alternating steps; a first round is not counted."""
    ours(), theirs()
    pairs = [(clocks(ours), clocks(theirs)) for _ in range(rounds)]
    ratio, processor = (median(second[n] / first[n] for first, second in pairs) for n in (0, 1))
    seconds = (median(pair[place][0] for pair in pairs) for place in (0, 1))
    found, other = (round(value, 4) for value in seconds)
    return Measured(name, PEER, round(ratio, 3), found, other, "s", round(processor, 3))


def clocks(step: Callable[[], None]) -> tuple[float, float]:
    """Seconds that a step takes, and processor seconds of all threads."""
    began, busy = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - began, time.process_time() - busy


def stepping(forward: Forward, module: nn.Module, precision: Precision) -> Callable[[], None]:
    """Forward and backward pass."""

    def step() -> None:
        with autocast(precision, "cpu"):
            loss = forward()
        loss.backward()
        module.zero_grad(set_to_none=True)

    return step


class Kept:
    """A tensor that is kept for the backward pass; it dies with its place in the graph."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # itself it may hold the graph that holds it


def kept_bytes(forward: Forward, module: nn.Module) -> int:
    """Bytes of the storages that a forward pass leaves for its backward pass, without the parameters'."""
    alive: weakref.WeakSet[Kept] = weakref.WeakSet()

    def pack(tensor: Tensor) -> Kept:
        kept = Kept(tensor)
        alive.add(kept)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        loss = forward()
    storages = (kept.tensor.untyped_storage() for kept in alive)
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    for parameter in module.parameters():
        sizes.pop(parameter.untyped_storage().data_ptr(), None)
    del loss
    return sum(sizes.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="alternations that are counted")
    parser.add_argument("--batch", type=int, default=8, help="pairs of the batch")
    parser.add_argument(
        "--size", choices=SIZES, default="base", help="small: a width of 192, four layers each"
    )
    parser.add_argument("--json", type=Path, help="write the list here too")
    options = parser.parse_args(arguments)
    prepare_process()
    steps, found = Steps(SIZES[options.size], options.batch), []
    print(f"{'what':<14}{'ours':>10}{'peer':>10}  {'unit':<6}{'ratio':>6}{'processor':>11}   beside {PEER}")
    for one in steps.measured(options.rounds):
        found.append(one)
        numbers = f"{one.ours:>10}{one.theirs:>10}  {one.unit:<6}{one.ratio:>6}{one.processor or '':>11}"
        print(f"{one.name:<14}{numbers}", flush=True)
    machine = platform.processor() or platform.machine()
    load = "/".join(f"{load:.1f}" for load in os.getloadavg())
    print(
        f"{options.size}, {options.batch} pairs, {options.rounds} rounds; {machine}, "
        f"{torch.get_num_threads()} threads of {os.cpu_count()}, load {load}, torch {torch.__version__}, "
        f"{time.strftime('%F')}"
    )
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
