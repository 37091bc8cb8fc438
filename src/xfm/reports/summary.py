"""The scores of an evaluation in a few lines of text, for the terminal."""

from collections.abc import Mapping, Sequence

from xfm.metrics.numbers import percent
from xfm.reports.labels import group_of, headlines, metric_name
from xfm.reports.scores import Score


def summary(scores: Mapping[str, Score]) -> str:
    """A table of the report's headlines: score, interval, chance, baseline and number of cases."""
    return table(scores, headlines(scores))


def table(scores: Mapping[str, Score], keys: Sequence[str]) -> str:
    """A table of some of the scores; what stands beside none of them has no column."""
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
