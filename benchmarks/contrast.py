"""Contrast of a large batch in the memory of a small one: gradients and peaks, each in a process of its own.

    python -m benchmarks.contrast [--rows 4096] [--part 256] [--json FILE]

Pairs of random pixels and words, a model of random weights in float32, contrast alone. `accumulated` takes
the rows in parts (GradCache), `whole` in one pass, `part` one part alone. Compared are the gradients of the
first two (the length of their difference over their length; of single parameters the worst, where float32
rounds sums that cancel), and the peaks of the first and the last beside model and batches. `matrix` is what a
process of several keeps of the contrast, in numbers: own rows x all columns, beside the square of all.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from xfm.config.data import DataConfig
from xfm.config.encoders import FusionConfig, LanguageConfig, VisionConfig
from xfm.config.model import MimTarget, ModelConfig
from xfm.config.phases import Phase
from xfm.config.training import LossConfig
from xfm.data.schema import Batch, MaskedTokens, PairBatch, Tokens
from xfm.models.gradients import PRETRAINING
from xfm.models.xfm import XFM
from xfm.objectives.contrast import PairEmbeddings, compare
from xfm.training.pretraining_step import PretrainingStep

CONTRAST = LossConfig(mlm=0, itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
CONFIG = ModelConfig(
    vision=VisionConfig(64, 8, 96, 4, 4, drop_path=0.0),
    language=LanguageConfig(1000, 96, 4, 4, 384, 40, dropout=0.0),
    fusion=FusionConfig(1, 4, 96, dropout=0.0),
    projection=64,
)


class OnePhase:
    """What a step asks of the data of a run without phases."""

    def phase_number(self, batch: int) -> int:
        """Always the same."""
        return 0

    def phase(self, batch: int) -> Phase:
        """Always the same."""
        return Phase(1.0, DataConfig(), CONTRAST)

    def begun(self, batch: int) -> list[Phase]:
        """None that does anything."""
        return []


def batch_of(rows: int, step: int) -> Batch:
    """Random pairs."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(4, 999, (rows, 16), generator=generator)
    none = torch.full((rows, 1), -100)
    own = torch.arange(rows) + step * rows
    pixels = torch.randn(rows, 3, 64, 64, generator=generator)
    masked = MaskedTokens(ids, torch.zeros_like(none), none)
    return Batch(0, pair=PairBatch(pixels, Tokens(ids, torch.ones_like(ids).bool()), masked, own, own))


def joined(batches: list[Batch]) -> Batch:
    """One batch of the pairs of several."""
    pairs = [batch.pair for batch in batches if batch.pair]
    batches.clear()

    def cat(values: list[Any]) -> Tensor:
        return torch.cat(values)

    tokens = Tokens(cat([one.tokens.ids for one in pairs]), cat([one.tokens.mask for one in pairs]))
    names = ("ids", "positions", "labels")
    masked = MaskedTokens(*(cat([getattr(one.masked, name) for one in pairs]) for name in names))
    identities = (cat([getattr(one, name) for one in pairs]) for name in ("image_identity", "text_identity"))
    return Batch(0, pair=PairBatch(cat([one.pixels for one in pairs]), tokens, masked, *identities))


def length(tensors: list[Tensor]) -> float:
    """Of all of them as one vector."""
    return float(torch.cat([tensor.double().flatten() for tensor in tensors]).norm())


def peak() -> float:
    """Peak resident memory of this process so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(mode: str, rows: int, part: int, out: Path) -> None:
    """One way, in this process: gradients and MiB that the step took beside model and batches."""
    torch.manual_seed(0)
    model = XFM(CONFIG).train()
    batches = [batch_of(part, step) for step in range(1 if mode == "part" else rows // part)]
    if mode == "whole":
        batches = [joined(batches)]
    data: Any = OnePhase()
    step = PretrainingStep([PRETRAINING], MimTarget.STATES, data)
    before = peak()
    found = step.split(model, batches, torch.Generator(), lambda function, *words: function(model, *words))
    parts = [part for (part,) in found]
    for one in parts:
        (step(model, one, torch.Generator()).total / len(parts)).backward()
    took = peak() - before
    save_file({n: p.grad for n, p in model.named_parameters() if p.grad is not None}, out)
    print(json.dumps({"mib": took}))


def matrix(rows: int, part: int) -> int:
    """Numbers in the largest tensor that the contrast of `part` own rows with all keeps."""
    sizes: list[int] = []

    def vectors(count: int) -> PairEmbeddings:
        own = torch.arange(count)
        return PairEmbeddings(torch.randn(count, 64).requires_grad_(), torch.randn(count, 64), own, own)

    everyone = vectors(rows)
    some = PairEmbeddings(*(getattr(everyone, name)[:part] for name in vars(everyone)))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
        compare(some, everyone, 0, torch.tensor([0.07], requires_grad=True))
    return max(sizes)


def main() -> None:
    """Measure each way and print, or write, the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--part", type=int, default=256)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--mode", choices=["accumulated", "whole", "part"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.mode:
        measure(options.mode, options.rows, options.part, options.out)
        return
    mib: dict[str, float] = {}
    gradients: dict[str, dict[str, Tensor]] = {}
    with TemporaryDirectory() as folder:
        for mode in ("part", "accumulated", "whole"):
            out = Path(folder) / f"{mode}.safetensors"
            words = [
                "--rows",
                str(options.rows),
                "--part",
                str(options.part),
                "--mode",
                mode,
                "--out",
                str(out),
            ]
            command = [sys.executable, "-m", "benchmarks.contrast", *words]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            mib[mode], gradients[mode] = json.loads(done.stdout)["mib"], load_file(out)
    ours, theirs = gradients["accumulated"], gradients["whole"]
    worst = max(float((ours[n] - theirs[n]).abs().max() / theirs[n].abs().max()) for n in theirs)
    apart = length([ours[n] - theirs[n] for n in theirs]) / length(list(theirs.values()))
    square = matrix(options.rows, options.rows)
    own = matrix(options.rows, options.part)
    found = [
        {"name": "contrast/gradient", "peer": "one pass", "ratio": apart},
        {"name": "contrast/gradient_of_one_parameter", "peer": "one pass", "ratio": worst},
        {"name": "contrast/memory", "peer": "a part alone", "ratio": mib["accumulated"] / mib["part"]},
        {"name": "contrast/memory_whole", "peer": "a part alone", "ratio": mib["whole"] / mib["part"]},
        {"name": "contrast/matrix", "peer": "the whole matrix", "ratio": own / square},
    ]
    text = json.dumps(found, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
