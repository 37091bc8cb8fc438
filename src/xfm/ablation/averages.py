"""From the scores of runs to averages of tasks, and their differences seed by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from xfm.config.ablation import AVERAGES, FULL
from xfm.metrics.intervals import Interval


@dataclass(frozen=True)
class ScoredRun:
    """A finished run: its variant, seed and scores by key."""

    variant: str
    seed: int
    scores: Mapping[str, float]


def averages(scores: Mapping[str, float], validation: bool = False) -> dict[str, float]:
    """The mean of the tasks of each group that were scored; a group of which none was is absent."""
    names = {"text": "validation", "seen": "validation"} if validation else {"text": "test", "seen": "seen"}
    found = {
        group: [scores[key] for key in (one.format(**names) for one in keys) if key in scores]
        for group, keys in AVERAGES.items()
    }
    return {group: float(np.mean(values)) for group, values in found.items() if values}


def differences(runs: Sequence[ScoredRun], metric: str, variant: str) -> Interval | None:
    """What a variant scores more than `full`, over the seeds that both have.

    Returns:
        The mean and its 95 % interval by Student's t over seeds; of one seed the interval is infinite. None
        where no seed has both.
    """
    by_seed = {name: {r.seed: r.scores for r in runs if r.variant == name} for name in (FULL, variant)}
    gains = [
        scores[metric] - by_seed[FULL][seed][metric]
        for seed, scores in by_seed[variant].items()
        if metric in scores and metric in by_seed[FULL].get(seed, {})
    ]
    if not gains:
        return None
    mean = float(np.mean(gains))
    if len(gains) == 1:
        return Interval(mean, -np.inf, np.inf)
    half = float(stats.t.ppf(0.975, len(gains) - 1) * np.std(gains, ddof=1) / np.sqrt(len(gains)))
    return Interval(mean, mean - half, mean + half)
