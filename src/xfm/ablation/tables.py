"""What an ablation found, as Markdown and drawn: averages of each variant, differences from the recipe."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xfm.ablation.averages import ScoredRun, differences
from xfm.config.ablation import AVERAGES, FULL, AblationConfig
from xfm.files import write_text
from xfm.metrics.intervals import Interval
from xfm.metrics.numbers import percent
from xfm.reports.charts import forest

PAGE, CHART = "ablation.md", "ablation.svg"


def write_tables(out: Path, recipe: str, config: AblationConfig, runs: Sequence[ScoredRun]) -> None:
    """Write `out/ablation.md`: what the variants are, their averages, and every score; and `ablation.svg`."""
    meanings = "\n".join(f"- `{one.name}`: {one.meaning}" for one in config.chosen)
    split = "validation splits" if config.validation else "test splits"
    chart = average_chart(runs)
    picture = f"\n![Differences of the averages from {FULL}]({CHART})\n" if chart else ""
    text = f"""# What parts of the method are worth: {recipe}

{len(runs)} runs, {config.seeds} seeds a variant, {split}. Means over seeds; in brackets the difference from
`{FULL}`, paired by seed, with its 95 % interval by Student's t. A bold difference's interval leaves zero out.

{meanings}

## Averages

{average_table(runs)}
{picture}
## Every score

{score_table(runs)}
"""
    if chart:
        write_text(out / CHART, chart)
    write_text(out / PAGE, text)


def average_table(runs: Sequence[ScoredRun]) -> str:
    """A row a variant, a column a group of `AVERAGES`."""
    groups = [group for group in AVERAGES if any(group in run.scores for run in runs)]
    rows = [[f"`{name}`", *(cell(group, name, runs) for group in groups)] for name in _variants(runs)]
    return _markdown(["", *groups], rows)


def average_chart(runs: Sequence[ScoredRun]) -> str:
    """The differences of the averages from `full` with their intervals, as an SVG file; empty without any."""
    variants = [name for name in _variants(runs) if name != FULL]
    panels = {
        group: {name: gain for name in variants if (gain := _points(runs, group, name)) is not None}
        for group in AVERAGES
    }
    panels = {group: found for group, found in panels.items() if found}
    return forest(panels, f"points more than {FULL}") if panels else ""


def _points(runs: Sequence[ScoredRun], metric: str, variant: str) -> Interval | None:
    gain = differences(runs, metric, variant)
    return gain and Interval(*(100 * value for value in (gain.value, gain.low, gain.high)))


def score_table(runs: Sequence[ScoredRun]) -> str:
    """A row a score, a column a variant; averages are not among them."""
    keys = dict.fromkeys(key for run in runs for key in run.scores if key not in AVERAGES)
    names = _variants(runs)
    rows = [[key, *(cell(key, name, runs) for name in names)] for key in keys]
    return _markdown(["", *(f"`{name}`" for name in names)], rows)


def _variants(runs: Sequence[ScoredRun]) -> list[str]:
    return list(dict.fromkeys(run.variant for run in runs))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def cell(metric: str, variant: str, runs: Sequence[ScoredRun]) -> str:
    """The mean over seeds, and the difference from `full` in brackets."""
    values = [run.scores[metric] for run in runs if run.variant == variant and metric in run.scores]
    if not values:
        return "-"
    mean, gain = percent(float(np.mean(values))), differences(runs, metric, variant)
    if variant == FULL or gain is None:
        return mean
    more = f"{100 * gain.value:+.1f}"
    shown = f"**{more}**" if gain.low > 0 or gain.high < 0 else more
    ends = f", {100 * gain.low:+.1f} to {100 * gain.high:+.1f}" if np.isfinite(gain.low) else ""
    return f"{mean} ({shown}{ends})"
