"""Intervals of an ablation that count seeds and test cases, both drawn at random and crossed.

    python -m benchmarks.crossed results/stop/arms.yaml runs/stop/arms results/stop-crossed.csv

The scorer of the ablation has left cases.npz beside each model: what every test case was worth to each score,
scaled so that the mean of the cases is the score. A case is what could have been another: a line, a sentence,
an object, all pictures of one caption. The difference of two arms is a table of seeds by cases, and the
variance of its mean has a part of each: of the seeds' means, and of the cases' means, less the part of single
cells, which is in both. Each part has its own quantile of Student's t, so that no interval is narrower than
the one that counts seeds alone. Intervals are corrected for their number in the file (Bonferroni). Averages
whose scores left no cases are named and left out.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from xfm.config.ablation import load_ablation
from xfm.core.files import write_text
from xfm.evaluation.ablation import RUNS, as_csv
from xfm.metrics.intervals import Interval

CASES = "cases.npz"
Floats = NDArray[np.float64]


def write_cases(model: Path, cases: Mapping[str, Floats]) -> None:
    """Leave what each case was worth beside a model folder."""
    arrays: dict[str, Any] = dict(cases)
    np.savez_compressed(model.with_name(CASES), **arrays)


def crossed(differences: Floats, comparisons: int = 1) -> Interval:
    """Mean of a table [seeds, cases] and its 95 % interval, over seeds and cases that were drawn.

    Variances of a two-way table whose rows and columns are both random; half-widths add up in squares, as
    Howe (1974) has it for the mean of a sum.
    """
    seeds, cases = differences.shape
    mean, by_seed, by_case = float(differences.mean()), differences.mean(1), differences.mean(0)
    rest = differences - by_seed[:, None] - by_case + mean
    cell = float((rest**2).sum()) / ((seeds - 1) * (cases - 1)) / (seeds * cases)
    of_seeds = float(by_seed.var(ddof=1)) / seeds
    of_cases = max(0.0, float(by_case.var(ddof=1)) / cases - cell)
    least = 1 - 0.025 / comparisons
    of_seeds *= float(stats.t.ppf(least, seeds - 1)) ** 2
    of_cases *= float(stats.t.ppf(least, cases - 1)) ** 2
    half = (of_seeds + of_cases) ** 0.5
    return Interval(mean, mean - half, mean + half)


def _worth(run: Path, scores: Sequence[str]) -> Floats | None:
    if not (run / CASES).exists():
        return None
    with np.load(run / CASES, allow_pickle=False) as found:
        if not set(scores) <= set(found.files):
            return None
        parts = [found[name] for name in scores]
    total = sum(map(len, parts))
    return np.concatenate([part * (total / (len(parts) * len(part))) for part in parts])


def all_known(each: list[Floats | None]) -> TypeGuard[list[Floats]]:
    """Whether every run has left its cases."""
    return all(one is not None for one in each)


def main(file: str, out: str, table: str) -> None:
    """Write the table: a row for each arm but the first, and each average."""
    config, runs = load_ablation(file), Path(out) / RUNS
    first, *others = config.chosen
    rows: list[dict[str, str]] = []
    for average in config.averages:
        worth = {
            arm.name: [_worth(runs / f"{arm.name}-{seed}", average.scores) for seed in range(config.seeds)]
            for arm in config.chosen
        }
        tables = {arm: np.stack(each) for arm, each in worth.items() if all_known(each)}
        if len(tables) < len(worth):
            print(f"{average.name}: no cases, left out", file=sys.stderr)
            continue
        for arm in others:
            gain = tables[arm.name] - tables[first.name]
            found = crossed(gain, len(config.averages) * len(others))
            rows.append(
                {"arm": arm.name, "against": first.name, "average": average.name}
                | {"seeds": str(config.seeds), "cases": str(gain.shape[1])}
                | {"difference": f"{found.value:.5f}", "low": f"{found.low:.5f}", "high": f"{found.high:.5f}"}
            )
    write_text(Path(table), as_csv(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
