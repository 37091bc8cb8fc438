"""The scores of an evaluation in a few lines of text, for the terminal."""

from collections.abc import Mapping, Sequence

from xfm.metrics.numbers import percent
from xfm.reports.labels import group_of, headlines, metric_name
from xfm.reports.scores import Score


def summary(scores: Mapping[str, Score]) -> str:
    """A table of the report's headlines: score, chance, baseline and number of cases."""
    return table(scores, headlines(scores))


def table(scores: Mapping[str, Score], keys: Sequence[str]) -> str:
    """A table of some of the scores."""
    rows: list[tuple[str, ...]] = [("", "score", "chance", "baseline", "n")]
    for key in keys:
        score = scores[key]
        name = f"{group_of(key).title}: {metric_name(key)}"
        shares = [percent(one) for one in (score.value, score.chance, score.baseline)]
        rows.append((name, *shares, f"{score.n:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def score_table(scores: Mapping[str, Score]) -> str:
    """Scores as lines for a terminal."""
    width = max(len(key) for key in scores)
    lines = [f"{'':<{width}}  {'score':>7}  {'baseline':>8}  {'chance':>7}  {'n':>6}"]
    for key, score in scores.items():
        floor, chance = ("-" if one is None else f"{one:.2%}" for one in (score.baseline, score.chance))
        lines.append(f"{key:<{width}}  {score.value:>7.2%}  {floor:>8}  {chance:>7}  {score.n:>6}")
    return "\n".join(lines)
