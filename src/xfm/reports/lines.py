"""Scores as the rows of a table: of a page, and of a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xfm.metrics.numbers import percent
from xfm.reports.labels import group_of, headlines, is_difference, less_is_better, metric_name, split_name
from xfm.reports.scores import Score


@dataclass(frozen=True)
class ScoreLine:
    """A row of the score table: task, split and metric in words.

    `gain` is the value minus the better of chance and baseline (None for an error, or without either), in
    points for a difference; `verdict` is `up` or `down` where the interval lies above or below that, else
    `level`.
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
    """Row of a score; `baselines` are its own by name."""
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


def summary(scores: Mapping[str, Score]) -> str:
    """Table of the report's headlines."""
    return table(scores, headlines(scores))


def table(scores: Mapping[str, Score], keys: Sequence[str]) -> str:
    """Table of some scores; empty columns are left out."""
    titles = ("", "score", "95 %", "scratch", "chance", "baseline", "n")
    rows = [titles, *(_cells(key, scores[key]) for key in keys)]
    used = [column for column in range(len(titles)) if {row[column] for row in rows[1:]} != {"-"}]
    rows = [tuple(row[column] for column in used) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def _cells(key: str, score: Score) -> tuple[str, ...]:
    some = [
        "-" if value is None else percent(value) for value in (score.scratch, score.chance, score.baseline)
    ]
    return (
        f"{group_of(key).title}: {metric_name(key)}",
        percent(score.value),
        "-" if score.low is None or score.high is None else f"{100 * score.low:.1f} to {percent(score.high)}",
        *some,
        f"{score.n:,}",
    )
