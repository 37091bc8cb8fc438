"""What loading adds to a step: turns with the real loader beside turns whose batches were loaded before.

    python benchmarks/stream.py [nano] --root worlds/emoji [--turns 10] [--seen 600] [--json stream.json]

Loop, loader, model and optimiser are the real ones, in one process with the recipe's loader processes. The
two kinds of turns alternate, so that what else the machine does meets them alike. Both train on batches that
are new to them: the first batches of each shape cost an encoder more than those after them. The first steps
of a turn do not count: the loader has worked ahead. The figure is the median, over pairs of turns, of the
ratio of their times, less one.

A run meets each picture and text several times, and keeps what it decoded: with `--seen` the batches of so
many steps are loaded before the first turn, and the turns get the same ones again.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from xfm.config.load import load_recipe
from xfm.models.gradients import PRETRAINING
from xfm.objectives.losses import Losses
from xfm.objectives.step import pretraining_losses
from xfm.training import distributed
from xfm.training.callbacks import Callback, StepOutput
from xfm.training.cpu_runtime import prepare_process
from xfm.training.curriculum import CurriculumData
from xfm.training.pretrain import build_model
from xfm.training.trainer import Trainer

LEAD = 3
"""Steps of a turn before its clock starts: torch's DataLoader has two batches ready for each worker."""


class Turns:
    """Batches of alternating turns, and the time of each turn.

    Attributes:
        times: seconds a step with the loader and without, a pair for each two turns.
    """

    def __init__(self, stream: Iterator[Any], steps: int) -> None:
        self._stream, self._steps = stream, steps
        self.times: list[tuple[float, float]] = []
        self._ends: list[float] = []

    def batches(self) -> Iterator[Any]:
        """The batches, without end."""
        length = LEAD + self._steps
        while True:
            for _ in range(length):
                yield next(self._stream)
            yield from [next(self._stream) for _ in range(length)]

    def step(self) -> None:
        """Called after each step."""
        self._ends.append(time.perf_counter())
        length = LEAD + self._steps
        if len(self._ends) == 2 * length:
            loaded, kept = self._ends[:length], self._ends[length:]
            found = [(one[-1] - one[LEAD - 1]) / self._steps for one in (loaded, kept)]
            self.times.append((found[0], found[1]))
            self._ends.clear()
            print(f"loader {found[0] * 1e3:8.1f} ms   before {found[1] * 1e3:8.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default="nano")
    parser.add_argument("--root", required=True, help="folder of the recipe's data")
    parser.add_argument("--phase", type=int, default=0, help="of the curriculum, from 1; the last by default")
    parser.add_argument("--turns", type=int, default=10, help="pairs of turns")
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn")
    parser.add_argument("--seen", type=int, default=0, help="steps whose batches were loaded once before")
    parser.add_argument("--workers", type=int, help="loader processes; the recipe's by default")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    prepare_process()
    torch.manual_seed(0)
    given = [] if options.workers is None else ["--data.workers", str(options.workers)]
    recipe = load_recipe(options.recipe, ["--root", str(Path(options.root).resolve()), *given])
    phase = recipe.phases()[options.phase - 1]
    steps = 2 * options.turns * (LEAD + options.steps)
    training = replace(recipe.training, steps=steps, minutes=0.0, weights=phase.weights, save_every=0)
    recipe = replace(recipe, data=phase.data, training=training, curriculum=[])
    with distributed.processes("cpu") as process:
        data, model = CurriculumData(recipe, process), build_model(recipe)
        for _ in data.batches(0, options.seen):
            pass
        turns = Turns(data.batches(0, steps), options.steps)

        def losses(model: Any, batch: Any, generator: torch.Generator) -> Losses:
            return pretraining_losses(model, batch, PRETRAINING, phase.weights, generator)

        class Turn(Callback):
            def on_step(self, trainer: Any, output: StepOutput) -> None:
                turns.step()

        Trainer(model, losses, lambda *_: turns.batches(), training, callbacks=[Turn()], device="cpu").fit()
    added = statistics.median(loaded / kept for loaded, kept in turns.times) - 1
    print(f"loading adds {added:.1%} to a step (median of {len(turns.times)} pairs of turns)")
    if options.json:
        asked = {"recipe": options.recipe, "seen": options.seen, "workers": recipe.data.workers}
        found = {**asked, "added": added, "seconds": turns.times}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
