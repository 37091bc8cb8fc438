"""The linear probe beside scikit-learn's logistic regression: accuracy and time of a sweep over C.

    python benchmarks/linear_probe.py [--rows 10000] [--width 768] [--classes 100] [--json linear.json]

Features as an encoder gives them: class means on a few hundred directions, noise whose covariance falls off
by a power law, and a mean that is not zero. Both sides fit the same float32 features at the same ten values
of C, one after another in one process with the same number of threads, and are scored on the same validation
rows. scikit-learn runs with CLIP's settings (1,000 steps at most, its own tolerance); with --converged also
to its optimum in float64, to tell which of the two is nearer.
"""

import argparse
import json
import math
import platform
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from xfm.finetuning.logistic import LinearClassifier, Regression
from xfm.metrics.classification import accuracy

MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class Line:
    """A value of C; accuracies are of the validation rows."""

    inverse_penalty: float
    ours: float
    scikit_learn: float
    optimum: float
    ours_seconds: float
    scikit_learn_seconds: float
    ours_steps: int
    scikit_learn_steps: int


def features(
    rows: int, width: int, classes: int, signal: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """[N, D] features and [N] labels."""
    rng = np.random.default_rng(seed)
    spectrum = (1 + np.arange(width)) ** -0.6
    turn, _ = np.linalg.qr(rng.normal(size=(width, width)))
    centres = rng.normal(size=(classes, width)) * spectrum * signal
    labels = rng.integers(classes, size=rows)
    values = (centres[labels] + rng.normal(size=(rows, width)) * spectrum) @ turn + rng.normal(size=width)
    return values.astype(np.float32), labels


def scikit_learn(
    value: float, train: NDArray[Any], labels: NDArray[np.int64], threads: int, **options: Any
) -> LogisticRegression:
    model = LogisticRegression(C=value, **options)
    with warnings.catch_warnings(), threadpool_limits(threads):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(train, labels)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000, help="training rows")
    parser.add_argument("--validation", type=int, default=2_000, help="validation rows")
    parser.add_argument("--width", type=int, default=768, help="features")
    parser.add_argument("--classes", type=int, default=100, help="classes")
    parser.add_argument("--signal", type=float, default=0.35, help="distance of the classes")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both")
    parser.add_argument("--ours-only", action="store_true", help="leave scikit-learn out")
    parser.add_argument("--converged", action="store_true", help="scikit-learn's optimum too, which is slow")
    parser.add_argument("--json", type=Path, help="write the table here too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    total = options.rows + options.validation
    values, labels = features(total, options.width, options.classes, options.signal, seed=0)
    train, test = values[: options.rows], values[options.rows :]
    own, other = labels[: options.rows], labels[options.rows :]
    grid = [float(value) for value in np.logspace(-4, 4, 10)]
    began = time.perf_counter()
    regression = Regression(train, own, options.classes)
    setup = time.perf_counter() - began
    lines: list[Line] = []
    start: LinearClassifier | None = None
    for value in grid:
        began = time.perf_counter()
        fit = regression.fit(value, start, max_iterations=MAX_ITERATIONS)
        seconds, start = time.perf_counter() - began, fit
        ours = accuracy(start.predict(test).numpy(), other)
        theirs, their_seconds, their_steps = math.nan, math.nan, 0
        if not options.ours_only:
            began = time.perf_counter()
            model = scikit_learn(value, train, own, options.threads, max_iter=MAX_ITERATIONS)
            their_seconds, their_steps = time.perf_counter() - began, int(model.n_iter_[0])
            theirs = accuracy(np.asarray(model.predict(test)), other)
        optimum = math.nan
        if options.converged:
            exact = train.astype(np.float64)
            model = scikit_learn(value, exact, own, options.threads, max_iter=20_000, tol=1e-7)
            optimum = accuracy(np.asarray(model.predict(test)), other)
        steps = (fit.iterations, their_steps)
        lines.append(Line(value, ours, theirs, optimum, seconds, their_seconds, *steps))
        print(
            f"C {value:<10.3g} ours {ours:7.2%} {seconds:7.2f} s {steps[0]:5d} steps"
            f"   scikit-learn {theirs:7.2%} {their_seconds:7.2f} s {steps[1]:5d} steps"
            f"   its optimum {optimum:7.2%}",
            flush=True,
        )
    seconds, theirs = setup + sum(x.ours_seconds for x in lines), sum(x.scikit_learn_seconds for x in lines)
    gaps = {
        "scikit-learn": max(abs(line.ours - line.scikit_learn) for line in lines),
        "its optimum": max(abs(line.ours - line.optimum) for line in lines),
    }
    print(f"sweep: ours {seconds:.1f} s, scikit-learn {theirs:.1f} s; accuracies differ at most by", end=" ")
    print(", ".join(f"{gap:.2%} from {name}" for name, gap in gaps.items() if not math.isnan(gap)))
    if options.json:
        machine = {"processor": platform.processor(), "threads": options.threads, "torch": torch.__version__}
        content = {
            "machine": machine,
            "rows": options.rows,
            "width": options.width,
            "classes": options.classes,
            "ours_seconds": seconds,
            "scikit_learn_seconds": theirs,
            "largest_differences": gaps,
            "lines": [asdict(line) for line in lines],
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
