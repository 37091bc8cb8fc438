"""Time and memory of loading a model of the size of `base`, from a model folder and from a published file.

    python -m benchmarks.loading [--recipe base] [--folder DIR] [--json FILE] [--csv FILE]

Writes a model with random weights, reads the files once so that the disk is warm, and loads each in a fresh
process: seconds from the call to the model, and the peak of the resident memory above what the imports took,
relative to the bytes of the weights.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from benchmarks.results import ROOT, add_outputs, write_outputs

import xfm
from xfm.config.load import load_recipe
from xfm.models.folder import Preprocessing, Pretrained, save_model
from xfm.models.interop.published.file import export
from xfm.models.xfm import XFM

MIB = 2**20


@dataclass(frozen=True)
class Line:
    """One way to load; seconds are the median, memory the largest of the rounds."""

    what: str
    stored_mib: int
    seconds: float
    peak_mib: int
    ratio: float


def write(recipe: str, folder: Path) -> dict[str, Path]:
    """A model folder and a published file with random weights."""
    model = XFM(load_recipe(recipe).model).eval()
    shown = Preprocessing(model.config.vision.image_size)
    save_model(folder / "model", model, None, shown, {})
    export(Pretrained(None, shown, {}, model=model), folder / "model.th")
    return {"model folder": folder / "model", "published file": folder / "model.th"}


def stored(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size


def memory(field: str) -> int:
    """Bytes of resident memory of this process: `VmRSS` now, `VmHWM` at most so far (Linux only).

    `getrusage` would not do: a new process inherits the peak of the one that starts it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def load_once(path: Path) -> None:
    """Load in this process and print seconds and bytes. Every weight is read, so that nothing is put off."""
    _ = xfm.load, torch.zeros(1)
    before = memory("VmRSS")
    began = time.perf_counter()
    model = xfm.load(path).model
    seconds = time.perf_counter() - began
    extra = memory("VmHWM") - before
    total = sum(p.detach().sum().item() for p in model.parameters())
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    print(json.dumps([seconds, max(extra, memory("VmHWM") - before), weights, total]))


def measure(what: str, path: Path, rounds: int) -> Line:
    size = stored(path)
    command = [sys.executable, "-m", "benchmarks.loading", "--load", str(path.resolve())]
    results = []
    for _ in range(rounds + 1):  # the first warms the disk and is not counted
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        results.append(json.loads(done.stdout))
    seconds = statistics.median(result[0] for result in results[1:])
    most = max(result[1] for result in results[1:])
    return Line(what, size // MIB, round(seconds, 2), most // MIB, round(most / size, 2))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="base")
    parser.add_argument("--rounds", type=int, default=3, help="loads that are counted")
    parser.add_argument(
        "--folder", type=Path, help="where to write the files; a temporary folder if not given"
    )
    add_outputs(parser)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        load_once(options.load)
        return
    with tempfile.TemporaryDirectory() as temporary:
        files = write(options.recipe, options.folder or Path(temporary))
        lines = [measure(what, path, options.rounds) for what, path in files.items()]
    print(f"{'what':<18}{'stored MiB':>12}{'seconds':>9}{'peak MiB':>10}{'ratio':>7}")
    for line in lines:
        print(
            f"{line.what:<18}{line.stored_mib:>12,}{line.seconds:>9.2f}{line.peak_mib:>10,}{line.ratio:>7.2f}"
        )
    write_outputs(options, [{"recipe": options.recipe, **asdict(line)} for line in lines])


if __name__ == "__main__":
    main()
