"""What a part of an evaluation, or a fine-tuning, found."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.metrics.intervals import Interval, bootstrap
from xfm.reports.scores import Score, best_of

OWN = "model"
"""The evaluated model among the baselines of a probe."""


@dataclass
class PartResult:
    """What a part of an evaluation found.

    Attributes:
        scores: by key `task/split/metric`.
        baselines: for a key, every baseline by name; the best of them is the score's `baseline`.
        examples: cases for the report by name, as plain JSON values (see `examples`).
        curves: training losses of fine-tunings by name, one value a step.
        tunings: of each of them the `steps` made, how many a whole evaluation makes (`of`), and `seconds`.
        probes: of each linear probe, what the training rows chose for the model (`OWN`) and each baseline.
        calibration: of the matching head (`MatchCalibration` as plain values); empty where none was fitted.
        seconds: wall-clock time, filled in by the runner.
        left_out: rows whose pictures could not be read (`LeftOut.plain`), filled in by the runner.
    """

    scores: dict[str, Score] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    tunings: dict[str, dict[str, float]] = field(default_factory=dict)
    probes: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    left_out: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        key: str,
        found: Interval | float,
        chance: float | None,
        n: int,
        seed: int,
        baselines: dict[str, float] | None = None,
        scratch: float | None = None,
    ) -> None:
        """Record a score; the best of the named baselines becomes its baseline."""
        chance, best = None if chance is None else float(chance), best_of(baselines or {})
        value, low, high = (
            (found.value, found.low, found.high) if isinstance(found, Interval) else (found, None, None)
        )
        self.scores[key] = Score(float(value), chance, best, n, seed, low, high, scratch)
        if baselines:
            self.baselines[key] = {name: float(number) for name, number in baselines.items()}

    def add_rows(
        self,
        key: str,
        rows: NDArray[np.float64],
        groups: NDArray[np.int64],
        chance: float | None,
        seed: int,
        baselines: dict[str, float] | None = None,
    ) -> None:
        """Record the mean of [N] rows, of which those of a group are not independent, see `bootstrap`."""
        self.add(key, bootstrap(rows, groups, seed), chance, len(rows), seed, baselines)
