"""The pair step of `base` beside the published algorithm: time in fp32 and bf16, and what backward needs.

    python -m benchmarks.step [--batch 8] [--rounds 7] [--size small] [--only activations] [--csv FILE]
    python -m benchmarks.step --device cuda --batch 96 --only step/bf16 --csv results/gpu.csv

A step is forward and backward pass of the losses of pairs: contrast, matching with hard negatives, masked
captions and masked patches. The peer is the published algorithm, composed of transformers' layers
(`benchmarks/published_step.py`); both have the same weights and read the same batch, of pictures of 224
pixels and captions of 8 to 20 words, padded to 30 tokens. They alternate within one process, in training
mode, with dropout and drop-path as published. Ours computes nothing again, which is what `auto` of the recipe
`base` comes to for 8 pairs, or what --activation_checkpointing says: all is of one setting.

- step/fp32, step/bf16: the ratio is the median over the rounds of theirs / ours: above 1 ours is faster.
  `processor` is the same of processor seconds, which other programs change less; `tflops` are those of the
  products of ours in a second, by torch's counter, and on a GPU `peak` is the most memory of ours, in MiB.
- activations: bytes of the storages that a forward pass in fp32 has made and that are held at its end, each
  storage once, whoever holds them; the ratio is ours / theirs: below 1 ours keeps less.
- activations/nothing: the same where ours computes nothing again, with which no time here goes together.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from benchmarks.encoders import Comparison
from benchmarks.published_step import published_model
from benchmarks.results import add_outputs, write_outputs
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import ModelConfig
from xfm.config.training import ActivationCheckpointing, LossConfig, Precision
from xfm.data.schema import Batch, MaskedTokens, PairBatch, Tokens
from xfm.evaluation.ablation import machine
from xfm.models.gradients import PRETRAINING
from xfm.models.precision import autocast
from xfm.models.xfm import XFM
from xfm.objectives.step import pretraining_losses
from xfm.training.activation_checkpointing import activation_checkpointing
from xfm.training.cpu_runtime import prepare_process
from xfm.training.distributed import pick_device
from xfm.training.planning.memory import LEVELS

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
    """One comparison, in seconds or MiB; `processor` is its ratio of processor seconds, `tflops` and `peak`
    are of ours alone; None where there is none."""

    processor: float | None = None
    tflops: float | None = None
    peak: float | None = None


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
    patches, side = config.vision.patches, config.vision.image_size
    patch_mask = torch.rand(count, patches).argsort(1) < PATCHES_MASKED
    own = torch.arange(count)
    return PairBatch(torch.randn(count, 3, side, side), Tokens(ids, mask), masked, own, own, patch_mask)


def our_losses(model: XFM, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
    """The losses of pairs by name, as pre-training computes them."""
    return pretraining_losses(model, Batch(0, pair=batch), PRETRAINING, LossConfig(), generator).terms


class Steps:
    """Both models on one batch."""

    def __init__(self, config: ModelConfig, count: int, device: torch.device) -> None:
        torch.manual_seed(0)
        ours = XFM(config).train()
        self.theirs, self.ours = published_model(ours).to(device), ours.to(device)
        self.batch, self.device = random_pairs(config, count).to(device), device

    def forwards(self) -> tuple[tuple[Forward, nn.Module], tuple[Forward, nn.Module]]:
        """The forward pass of ours and of the peer, with the model of each."""

        def ours() -> Tensor:
            return torch.stack(
                [*our_losses(self.ours, self.batch, torch.Generator(self.device)).values()]
            ).sum()

        def theirs() -> Tensor:
            return torch.stack([*self.theirs.losses(self.batch, torch.Generator(self.device)).values()]).sum()

        return (ours, self.ours), (theirs, self.theirs)

    def measured(self, rounds: int, again: ActivationCheckpointing, only: str) -> Iterator[Measured]:
        """All comparisons whose names begin with `only`, with what ours computes again."""
        forwards = self.forwards()
        with activation_checkpointing(self.ours, again):
            for precision in (Precision.FP32, Precision.BF16):
                if (name := f"step/{precision.value}").startswith(only):
                    steps = [stepping(*one, precision, self.device) for one in forwards]
                    yield compared(name, steps[0], steps[1], rounds)
        names = {"activations": again, "activations/nothing": ActivationCheckpointing.NONE}
        if again is ActivationCheckpointing.NONE:
            del names["activations/nothing"]
        wanted = {name: rung for name, rung in names.items() if name.startswith(only)}
        theirs = kept_bytes(forwards[1][0]) / 2**20 if wanted else 0.0
        for name, rung in wanted.items():
            with activation_checkpointing(self.ours, rung):
                ours = kept_bytes(forwards[0][0]) / 2**20
            yield Measured(name, PEER, round(ours / theirs, 3), round(ours, 1), round(theirs, 1), "MiB")


def compared(name: str, ours: Callable[[], None], theirs: Callable[[], None], rounds: int) -> Measured:
    """Medians of alternating steps; a first round is not timed."""
    on_gpu, counter = torch.cuda.is_initialized(), FlopCounterMode(display=False)
    with counter:
        ours()
    peak = round(torch.cuda.max_memory_allocated() / 2**20) if on_gpu else None
    theirs()
    pairs = [(clocks(ours), clocks(theirs)) for _ in range(rounds)]
    ratio, processor = (median(second[n] / first[n] for first, second in pairs) for n in (0, 1))
    seconds = (median(pair[place][0] for pair in pairs) for place in (0, 1))
    found, other = (round(value, 4) for value in seconds)
    tflops = round(counter.get_total_flops() / 1e12 / found, 3)
    return Measured(name, PEER, round(ratio, 3), found, other, "s", round(processor, 3), tflops, peak)


def clocks(step: Callable[[], None]) -> tuple[float, float]:
    """Seconds that a step takes, and processor seconds of all threads."""
    began, busy = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - began, time.process_time() - busy


def stepping(
    forward: Forward, module: nn.Module, precision: Precision, device: torch.device
) -> Callable[[], None]:
    """Forward and backward pass, until all of it is done."""

    def step() -> None:
        with autocast(precision, device):
            loss = forward()
        loss.backward()
        module.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


class Created(TorchDispatchMode):
    """Notes the memory of every tensor that an operation makes; what is given to operations is not noted."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, StorageWeakRef] = {}  # an address stays that of one storage: its note lives

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {_address(tensor) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            if (address := _address(tensor)) not in given and address not in self.found:
                self.found[address] = StorageWeakRef(tensor.untyped_storage())
        return result

    def alive(self) -> int:
        """Bytes of those that somebody still holds."""
        storages = (torch.UntypedStorage._new_with_weak_ptr(ref.cdata) for ref in self.found.values())
        return sum(storage.nbytes() for storage in storages if storage is not None)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def kept_bytes(forward: Forward) -> int:
    """Bytes that a forward pass has made and leaves for its backward pass, each storage once.

    Whoever holds them counts: the graph, or what is to compute a part of it again. Parameters and the batch
    were there before.
    """
    with Created() as created:
        loss = forward()
    found = created.alive()
    del loss
    return found


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
    parser.add_argument(
        "--activation_checkpointing",
        type=ActivationCheckpointing,
        choices=LEVELS,
        default=LEVELS[0],
        help="what ours computes again (default: %(default)s)",
    )
    parser.add_argument("--only", default="", help="comparisons whose names begin so")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    add_outputs(parser)
    options = parser.parse_args(arguments)
    prepare_process()
    device = pick_device(options.device)
    steps, found = Steps(SIZES[options.size], options.batch, device), []
    print(f"{'what':<20}{'ours':>10}{'peer':>10}  {'unit':<6}{'ratio':>6}{'processor':>11}   beside {PEER}")
    for one in steps.measured(options.rounds, options.activation_checkpointing, options.only):
        found.append(one)
        numbers = f"{one.ours:>10}{one.theirs:>10}  {one.unit:<6}{one.ratio:>6}{one.processor or '':>11}"
        print(f"{one.name:<20}{numbers}", flush=True)
    name = machine() if device.type == "cpu" else torch.cuda.get_device_name(device)
    load = "/".join(f"{load:.1f}" for load in os.getloadavg())
    print(
        f"{options.size}, {options.batch} pairs, {options.rounds} rounds, "
        f"activation_checkpointing {options.activation_checkpointing}; "
        f"{name}, {torch.get_num_threads()} threads of {os.cpu_count()}, load {load}, "
        f"torch {torch.__version__}, {time.strftime('%F')}"
    )
    about = {"size": options.size, "pairs": options.batch}
    about["checkpointing"] = options.activation_checkpointing.value
    write_outputs(options, [{**about, **asdict(one)} for one in found], name)


if __name__ == "__main__":
    main()
