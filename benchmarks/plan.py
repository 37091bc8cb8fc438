"""Memory and operations of real steps on this CPU, beside what `xfm plan`'s formulas say of them.

    python -m benchmarks.plan [--only base] [--json FILE] [--csv FILE]

Two steps of the real loop with model, losses and optimiser, on random pictures and words of exactly the sizes
that the formulas take from the configuration. Peaks are those of torch's allocator, counted by its profiler:
exact, whatever else the machine does. `base-narrow` is the recipe `base`, a quarter as wide and 3 layers
deep, with its vocabulary, its pictures and a few rows of each stream; `nano` is the recipe's last phase.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.results import add_outputs, write_outputs
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from xfm.config.load import load_recipe
from xfm.config.phases import Phase
from xfm.config.recipe import Recipe
from xfm.config.training import ActivationCheckpointing
from xfm.data.schema import Batch, ImageBatch, MaskedTokens, PairBatch, RegionBatch, TextBatch, Tokens
from xfm.models.xfm import XFM
from xfm.training.planning.memory import MemoryForecast, forecast, without_memory
from xfm.training.planning.step import SourceSizes, StepSizes, sizes_of
from xfm.training.pretrain import policies_of
from xfm.training.pretraining_step import PretrainingStep
from xfm.training.trainer import Trainer


@dataclass(frozen=True)
class Measured:
    """What a step took.

    Attributes:
        peak: most bytes that torch had at once.
        flops: operations of matrix products.
    """

    peak: float
    flops: float


class LastPhase:
    """What a step asks of the data of a run: always the recipe's last phase."""

    def __init__(self, phase: Phase) -> None:
        self.only = phase

    def phase_number(self, batch: int) -> int:
        """Always the same."""
        return 0

    def phase(self, batch: int) -> Phase:
        """Always the same."""
        return self.only

    def begun(self, batch: int) -> list[Phase]:
        """None that does anything."""
        return []


def tokens_of(one: SourceSizes, words: int) -> tuple[Tokens, MaskedTokens]:
    """Random texts of the sizes."""
    shape, masked = (one.texts, one.length), one.masked
    ids = torch.randint(4, words, shape)
    positions = torch.arange(1, masked + 1).expand(one.texts, masked).contiguous()
    return Tokens(ids, torch.ones_like(ids, dtype=torch.bool)), MaskedTokens(
        ids.clone(), positions, ids[:, 1 : masked + 1].clone()
    )


def batch_of(recipe: Recipe, sizes: StepSizes) -> Batch:
    """A random batch of exactly the sizes."""
    vision, words = recipe.model.vision, recipe.model.language.vocab_size
    side, patches, hidden = vision.image_size, vision.patches, recipe.data.patch_mask.patches

    def masks(count: int) -> Tensor:
        return torch.rand(count, patches).argsort(1) < hidden

    def region(one: SourceSizes) -> RegionBatch:
        rows, own = one.texts, torch.arange(one.texts)
        visible = torch.rand(rows, patches) < 0.3
        visible[:, 0] = True
        boxes = torch.rand(rows, 4) * 0.4 + 0.2
        pixels, index = torch.randn(one.pictures, 3, side, side), own * one.pictures // rows
        no_box = own >= one.boxed
        return RegionBatch(pixels, index, visible, boxes, no_box, *tokens_of(one, words), own, own)

    def pair(one: SourceSizes) -> PairBatch:
        pixels, own = torch.randn(one.pictures, 3, side, side), torch.arange(one.pictures)
        hides = masks(one.pictures) if one.masks_patches else None
        return PairBatch(pixels, *tokens_of(one, words), own, own, hides)

    text, images, pairs, regions = (sizes.get(name) for name in ("text", "image", "pair", "region"))
    return Batch(
        0,
        TextBatch(*tokens_of(text, words)) if text else None,
        ImageBatch(torch.randn(images.pictures, 3, side, side), masks(images.pictures)) if images else None,
        pair(pairs) if pairs else None,
        region(regions) if regions else None,
    )


def predicted(recipe: Recipe, fused: bool = False) -> tuple[MemoryForecast, float]:
    """Memory and operations by the formulas, of a CPU's way to compute, or of a GPU's."""
    phase = recipe.phases()[-1]
    alone = replace(phase, until=1.0)
    return forecast(without_memory(recipe.model), recipe.training, [alone], 1, fused)


def steps_of(recipe: Recipe, count: int, device: str = "cpu") -> None:
    """Some steps of the real loop."""
    phase = recipe.phases()[-1]
    sizes = sizes_of(phase.data, phase.weights, 1)
    torch.manual_seed(0)
    data: Any = LastPhase(phase)
    model = XFM(recipe.model)
    policies, training = policies_of(recipe)[-1:], recipe.training
    step = PretrainingStep(policies, training.mim_target, data, training.sequential_sources)

    def batches(start: int, stop: int) -> Iterator[Batch]:
        for _ in range(start, stop):
            yield batch_of(recipe, sizes)

    training = replace(recipe.training, steps=count, minutes=0, save_every=0, weights=phase.weights)
    Trainer(model, step, batches, training, device=device).fit()


def peak_of(recipe: Recipe, device: str = "cpu") -> float:
    """Most bytes that torch's allocator had given out at once: model, moments, batches, activations."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        steps_of(recipe, 2, device)
        return torch.cuda.max_memory_allocated()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        steps_of(recipe, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    return max(event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]")


def measured(recipe: Recipe) -> Measured:
    """Peak and operations of a step."""
    counter = FlopCounterMode(display=False)
    with counter:
        steps_of(recipe, 1)
    return Measured(peak_of(recipe), counter.get_total_flops())


def narrow(recipe: Recipe, depth: int = 3, *options: str) -> Recipe:
    """The recipe `base` as this CPU can compute it, with all activations kept."""
    model, quarter = recipe.model, {"width": 192, "heads": 3}
    model = replace(
        model,
        vision=replace(model.vision, depth=depth, **quarter),
        language=replace(model.language, depth=depth, mlp_width=768, **quarter),
        fusion=replace(model.fusion, depth=depth, heads=3, mlp_width=768),
    )
    rows = {"text": 8, "image": 3, "pair": 6, "region": 4}
    streams = {name: replace(one, batch_size=rows[name]) for name, one in recipe.data.streams.items()}
    training = replace(recipe.training, activation_checkpointing=ActivationCheckpointing.NONE)
    return replace(recipe, model=model, data=replace(recipe.data, **streams), training=training)


def cases() -> Iterator[tuple[str, Recipe]]:
    """Names and recipes."""
    nano = load_recipe("nano", ["--training.precision", "fp32"])
    base = narrow(load_recipe("base", ["--training.precision", "fp32"]))
    for name, recipe in (("nano", nano), ("base-narrow", base)):
        yield name, recipe
        for changed in (
            {"activation_checkpointing": ActivationCheckpointing.SELECTIVE},
            {"activation_checkpointing": ActivationCheckpointing.FULL},
            {"gradient_accumulation_steps": 2},
        ):
            what = " ".join(str(word) for word in next(iter(changed.items())))
            yield f"{name}/{what}", replace(recipe, training=replace(recipe.training, **changed))


def main() -> None:
    """Measure each, and print or write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose names begin so")
    add_outputs(parser)
    options = parser.parse_args()
    found = []
    print(f"{'case':24s} {'MB predicted':>13s} {'measured':>9s} {'ratio':>6s} {'GFLOP':>9s} {'ratio':>6s}")
    for name, recipe in cases():
        if not name.startswith(options.only):
            continue
        (said, flops), seen = predicted(recipe), measured(recipe)
        memory, work = said.total / seen.peak, flops / seen.flops
        sizes = f"{said.total / 1e6:13.1f} {seen.peak / 1e6:9.1f} {memory:6.3f}"
        print(f"{name:24s} {sizes} {seen.flops / 1e9:9.1f} {work:6.3f}", flush=True)
        predicted_mb, measured_mb = (round(size / 1e6, 1) for size in (said.total, seen.peak))
        found.append(
            {
                "case": name,
                "MB predicted": predicted_mb,
                "MB measured": measured_mb,
                "ratio": round(memory, 3),
                "GFLOP measured": round(seen.flops / 1e9, 1),
                "ratio of operations": round(work, 3),
            }
        )
    write_outputs(options, found)


if __name__ == "__main__":
    main()
