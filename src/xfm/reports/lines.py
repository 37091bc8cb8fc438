"""Scores as the rows of a table: value, interval, floor and verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

from xfm.metrics.intervals import wilson_interval
from xfm.reports.labels import group_of, is_difference, is_share, metric_name, split_name
from xfm.reports.scores import Score

Ends = tuple[float, float]


@dataclass(frozen=True)
class ScoreLine:
    """A row of the score table.

    Attributes:
        key: of `metrics.json`.
        task, split, metric: in words.
        score: the numbers.
        low, high: 95 % interval of the value, None where it is not known.
        gain: value minus the better of chance and baseline; None where neither is there.
        is_difference: whether the value is a difference of two shares, in points.
        verdict: `up` or `down` where the interval lies above or below that, else `level`.
        baselines: every baseline by name.
    """

    key: str
    task: str
    split: str
    metric: str
    score: Score
    low: float | None
    high: float | None
    gain: float | None
    is_difference: bool
    verdict: str
    baselines: dict[str, float]


def line_of(
    key: str, scores: Mapping[str, Score], baselines: dict[str, float], interval: Ends | None = None
) -> ScoreLine:
    """The row of a score in the table; `baselines` are its own by name, the interval may be known better."""
    score = scores[key]
    floor = max((one for one in (score.chance, score.baseline) if one is not None), default=None)
    ends = interval or interval_of(key, scores)
    low, high = ends or (None, None)
    verdict = "level"
    if ends is not None and floor is not None:
        verdict = "up" if ends[0] > floor else "down" if ends[1] < floor else "level"
    return ScoreLine(
        key,
        group_of(key).title,
        split_name(key),
        metric_name(key),
        score,
        low,
        high,
        None if floor is None else score.value - floor,
        is_difference(key),
        verdict,
        baselines,
    )


def interval_of(key: str, scores: Mapping[str, Score]) -> Ends | None:
    """The stored interval of a score that has one, the Wilson interval of a share, or nothing."""
    score, low, high = scores[key], scores.get(f"{key}_low"), scores.get(f"{key}_high")
    if low is not None and high is not None:
        return low.value, high.value
    if not is_share(key) or not 0 <= score.value <= 1:
        return None
    interval = wilson_interval(score.value, score.n)
    return interval.low, interval.high
