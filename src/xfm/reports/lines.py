"""Scores as the rows of a table: value, interval, floor and verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

from xfm.reports.labels import group_of, is_difference, less_is_better, metric_name, split_name
from xfm.reports.scores import Score


@dataclass(frozen=True)
class ScoreLine:
    """A row of the score table.

    Attributes:
        key: of `metrics.json`.
        task, split, metric: in words.
        score: the numbers.
        gain: value minus the better of chance and baseline; None for an error, and where neither is there.
        is_difference: whether the value is a difference of two shares, in points.
        verdict: `up` or `down` where the interval lies above or below that, else `level`.
        baselines: every baseline by name.
    """

    key: str
    task: str
    split: str
    metric: str
    score: Score
    gain: float | None
    is_difference: bool
    verdict: str
    baselines: dict[str, float]


def line_of(key: str, scores: Mapping[str, Score], baselines: dict[str, float]) -> ScoreLine:
    """The row of a score in the table; `baselines` are its own by name."""
    score, verdict = scores[key], "level"
    floor = max((one for one in (score.chance, score.baseline) if one is not None), default=None)
    if less_is_better(key):
        floor = None
    if floor is not None and score.low is not None and score.high is not None:
        verdict = "up" if score.low > floor else "down" if score.high < floor else "level"
    return ScoreLine(
        key,
        group_of(key).title,
        split_name(key),
        metric_name(key),
        score,
        None if floor is None else score.value - floor,
        is_difference(key),
        verdict,
        baselines,
    )
