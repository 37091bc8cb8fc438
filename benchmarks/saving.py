"""How long training pauses for a checkpoint: written beside the training, and at once.

    python -m benchmarks.saving [--size base] [--turns 10] [--folder DIR] [--json FILE]

A model of the recipe's sizes with AdamW's moments, float32, on the processor or a GPU. Saves of the two kinds
alternate in one process, into folders of their own, with all that a run does: checksums, fsync, renames,
pruning. The pause is the time that `RunFolder.save` takes. After a save beside the training, matrix products
go on until it is written, as steps would; `slowdown` is what these take then over what they take alone. The
first turn does not count: it is given the pages of the copy. The figure is the median ratio of a turn.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from xfm.config.load import load_recipe
from xfm.config.training import OptimConfig, Precision, TrainingConfig
from xfm.models.xfm import XFM
from xfm.training import distributed
from xfm.training.checkpoint import HostCopies, snapshot
from xfm.training.optim import build_optimizer
from xfm.training.randomness import random_state
from xfm.training.run_folder import RunFolder


class Saver:
    """A run's model, optimiser and two folders.

    Args:
        recipe: gives the sizes.
        folder: for the checkpoints.
        process: where the model lies.
    """

    def __init__(self, recipe: str, folder: Path, process: distributed.Process) -> None:
        self.model = XFM(load_recipe(recipe).model).to(process.device)
        self.optimizer = build_optimizer(self.model, OptimConfig(lr=1e-6))
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.generator, self.device = torch.Generator(process.device).manual_seed(0), process.device
        self.folders = [
            (RunFolder(folder / name, TrainingConfig()), copies)
            for name, copies in (("paused", None), ("beside", HostCopies()))
        ]
        self.work = torch.randn(768, 768, device=process.device)

    def nbytes(self) -> int:
        """Bytes of the tensors of a checkpoint."""
        moments = (value for state in self.optimizer.state.values() for value in state.values())
        return sum(tensor.nbytes for tensor in (*self.model.parameters(), *moments))

    def turn(self, step: int) -> dict[str, float]:
        """Seconds: of both pauses, of writing beside, and of a product alone and beside it."""
        found: dict[str, float] = {"product": statistics.median(self._product() for _ in range(50))}
        for name, (folder, copies) in zip(("paused", "beside"), self.folders, strict=True):
            self._finish()
            began = time.perf_counter()
            tensors = snapshot(self.model, self.optimizer, copies=copies)
            folder.save(step, Precision.FP32, tensors, [random_state(self.generator)], wait=copies is None)
            found[name] = time.perf_counter() - began
        began = time.perf_counter()
        products: list[float] = []
        beside, _ = self.folders[1]
        while beside._written is not None and not beside._written.done():
            products.append(self._product())
        beside.settle()
        found["written"] = time.perf_counter() - began
        found["slowdown"] = statistics.fmean(products or [0.0]) / found["product"]
        return found

    def _product(self) -> float:
        began = time.perf_counter()
        torch.matmul(self.work, self.work)
        self._finish()
        return time.perf_counter() - began

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    """Measure and print, or write, the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="base", help="recipe that gives the sizes")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--folder", type=Path, help="on the disk that is written to; a temporary one if not given"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.manual_seed(0)
    with distributed.processes(options.device) as process, TemporaryDirectory(dir=options.folder) as place:
        saver = Saver(options.size, Path(place), process)
        print(f"{saver.nbytes() / 1e6:,.0f} MB of weights and moments on {process.device}", flush=True)
        turns = []
        for number in range(options.turns + 1):
            turns.append(saver.turn(number + 1))
            print("  ".join(f"{name} {value:8.4f}" for name, value in turns[-1].items()), flush=True)
    ratio = statistics.median(turn["beside"] / turn["paused"] for turn in turns[1:])
    slowdown = statistics.median(turn["slowdown"] for turn in turns[1:])
    print(
        f"beside the training a save pauses it {ratio:.1%} as long; products take {slowdown:.2f} x meanwhile"
    )
    found = [{"name": "saving/pause", "peer": "a save that training waits for", "ratio": ratio}]
    found.append({"name": "saving/slowdown", "peer": "products alone", "ratio": slowdown})
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
