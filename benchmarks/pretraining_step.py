"""Samples a second of pre-training where fusion takes part, beside those of another checkout's source.

    python benchmarks/pretraining_step.py nano --root worlds/emoji [--against ../before/src] [--json x.json]

Loop, loader and optimiser are the real ones. Every phase of the recipe in which fusion takes part runs in a
process of its own, one for each source; all wait but one, and they take turns, so that what else the machine
does meets them alike. Each source reads its own recipe of that name; further options change it in both,
such as `--data.workers 0`. The first steps of a turn do not count: the loader has worked ahead of them.
Medians of all turns; "all" weighs the phases by their share of the steps. CPU seconds are those of the
training process and its loaders, which other programs change less.

An older source needs a world that both can read and batches that hold the same:
`--data.pair.corpora '[{path: "pretrain/scenes-*.tar"}]'` leaves out twins.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
OWN = HERE.parents[1] / "src"
LEAD = 3
"""Steps of a turn before its clock starts: torch's DataLoader has two batches ready for each worker."""

Times = dict[str, float]
"""Seconds a step by clock: wall and, where the system tells, cpu."""


# ---------------------------------------------------------------- in the processes that train
def fusion_phases(recipe: Any) -> list[list[Any]]:
    """The recipe's phases with a matching loss, those that compute the same together."""
    alike: dict[tuple[Any, ...], list[Any]] = {}
    for phase in recipe.phases():
        if phase.weights.itm:
            used = [name for name, weight in asdict(phase.weights).items() if weight]
            alike.setdefault((str(phase.data), *used), []).append(phase)
    return list(alike.values())


def work(options: argparse.Namespace) -> None:
    """Train a phase; for every line of the input, so many steps, timed."""
    import torch

    from xfm.config.load import load_recipe
    from xfm.models.gradients import PRETRAINING
    from xfm.objectives.step import pretraining_losses
    from xfm.training import distributed
    from xfm.training.callbacks import Callback, StepOutput
    from xfm.training.cpu_runtime import prepare_process
    from xfm.training.pretrain import CurriculumData, build_model
    from xfm.training.trainer import Trainer

    prepare_process()
    torch.manual_seed(0)
    recipe = load_recipe(options.recipe, ["--root", str(options.root.resolve()), *options.options])
    first = fusion_phases(recipe)[options.phase][0]
    training = replace(recipe.training, steps=10**6, weights=first.weights, save_every=0)
    recipe = replace(recipe, data=first.data, training=training, curriculum=[])
    turns = timed_turns()
    next(turns)
    with distributed.processes("cpu") as process:
        data, model = CurriculumData(recipe, process), build_model(recipe)

        def losses(model: Any, batch: Any, generator: torch.Generator) -> Any:
            return pretraining_losses(model, batch, PRETRAINING, first.weights, generator)

        class Turn(Callback):
            def on_step(self, trainer: Any, output: StepOutput) -> None:
                next(turns)

        Trainer(model, losses, data.batches, training, callbacks=[Turn()], device="cpu").fit()


def timed_turns() -> Iterator[None]:
    """Advanced after every step; between turns it waits for the next line of the input."""
    yield
    for line in sys.stdin:
        for _ in range(LEAD):
            yield
        began, busy = time.perf_counter(), cpu_seconds()
        for _ in range(int(line)):
            yield
        found = {"wall": (time.perf_counter() - began) / int(line)}
        if busy is not None and (after := cpu_seconds()) is not None:
            found["cpu"] = (after - busy) / int(line)
        print(json.dumps(found), flush=True)
    os._exit(0)  # the loop has many steps left


def cpu_seconds() -> float | None:
    """Processor time of this process and its loaders so far; None where the system does not tell."""
    try:
        loaders = [Path(f"/proc/{p.pid}/stat").read_text() for p in multiprocessing.active_children()]
    except OSError:
        return None
    ticks = sum(sum(map(int, stat.rpartition(")")[2].split()[11:13])) for stat in loaders)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------- in the process that measures
class Trainer:
    """A process that trains one phase with the code of one source."""

    def __init__(self, source: Path, phase: int, options: argparse.Namespace) -> None:
        shared = [options.recipe, "--root", str(options.root), "--phase", str(phase), *options.options]
        environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": str(options.threads)}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE), *shared],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> "Trainer":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def turn(self, steps: int) -> Times:
        """The next turn."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a training process has ended; see its message above")
        return json.loads(line)


def measure(phases: int, options: argparse.Namespace) -> dict[str, list[list[Times]]]:
    """Of each source, of each phase, its turns."""
    sources = {"here": OWN} | ({"against": options.against.resolve()} if options.against else {})
    with ExitStack() as stack:
        trainers = {
            (name, phase): stack.enter_context(Trainer(source, phase, options))
            for phase in range(phases)
            for name, source in sources.items()
        }
        for trainer in trainers.values():
            trainer.turn(options.steps)  # kernels are built, caches filled
        turns: dict[tuple[str, int], list[Times]] = {key: [] for key in trainers}
        for number in range(options.turns):
            for key in sorted(trainers, reverse=number % 2 == 1):
                turns[key].append(trainers[key].turn(options.steps))
                print(*key, turns[key][-1], file=sys.stderr, flush=True)
    return {name: [turns[name, phase] for phase in range(phases)] for name in sources}


def median_rate(turns: list[Times], clock: str, samples: int) -> float:
    """Samples a second of that clock."""
    return samples / statistics.median(turn[clock] for turn in turns)


def report(recipe: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Measure, print the table and return it."""
    phases = fusion_phases(recipe)
    begins = dict(zip((s.until for s in recipe.phases()), [0.0, *recipe.ends()], strict=True))
    lengths = [sum(s.until - begins[s.until] for s in alike) for alike in phases]
    samples = [sum(s.batch_size for s in alike[0].data.streams.values()) for alike in phases]
    names = [" and ".join(f"{begins[s.until]:.0%}-{s.until:.0%}" for s in alike) for alike in phases]
    found = measure(len(phases), options)
    clocks = ["wall", "cpu"] if all("cpu" in t for s in found.values() for p in s for t in p) else ["wall"]
    table = []
    print(f"{'of the run':20s} {'clock':5s}" + "".join(f" {name:>8s}" for name in found) + "    ratio")
    total = sum(share * count for share, count in zip(lengths, samples, strict=True))
    for clock in clocks:
        rates = {
            name: [median_rate(turns, clock, count) for turns, count in zip(of, samples, strict=True)]
            for name, of in found.items()
        }
        for name, of in rates.items():
            seconds = sum(n * count / rate for n, count, rate in zip(lengths, samples, of, strict=True))
            rates[name] = [*of, total / seconds]
        for place, span in enumerate([*names, "all"]):
            row = {name: round(of[place], 2) for name, of in rates.items()}
            ratio = row["here"] / row["against"] if "against" in row else None
            shown = "".join(f" {rate:8.1f}" for rate in row.values()) + (f" {ratio:8.3f}" if ratio else "")
            print(f"{span:20s} {clock:5s}{shown}", flush=True)
            table.append({"of the run": span, "clock": clock, **row, "ratio": ratio})
    return {"recipe": recipe.name, "samples": samples, "table": table, "turns": found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="Further options are those of `xfm pretrain`.",
    )
    parser.add_argument("recipe", nargs="?", default="nano", help="name or file of a recipe")
    parser.add_argument("--root", type=Path, default=Path("worlds/emoji"), help="folder of the data")
    parser.add_argument("--against", type=Path, help="folder `src` of another checkout")
    parser.add_argument("--steps", type=int, default=10, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=8, help="turns of each source and phase")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of the training process")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--phase", type=int, help=argparse.SUPPRESS)  # of a process that trains
    options, rest = parser.parse_known_args()
    options.options = rest
    if options.phase is not None:
        return work(options)
    from xfm.config.load import load_recipe

    recipe = load_recipe(options.recipe, ["--root", str(options.root.resolve()), *options.options])
    result = report(recipe, options)
    result |= {"threads": options.threads, "options": options.options, "machine": platform.machine()}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
