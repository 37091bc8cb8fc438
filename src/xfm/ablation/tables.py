"""The tables of an ablation in Markdown: averages of each variant, and differences from the recipe."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xfm.ablation.averages import ScoredRun, differences
from xfm.config.ablation import AVERAGES, FULL, AblationConfig
from xfm.files import write_text
from xfm.metrics.numbers import percent

PAGE = "ablation.md"


def write_tables(out: Path, recipe: str, config: AblationConfig, runs: Sequence[ScoredRun]) -> None:
    """Write `out/ablation.md`: averages, their differences from `full`, and the same of every score."""
    variants = [one for one in config.chosen if any(run.variant == one.name for run in runs)]
    names = [one.name for one in variants]
    meanings = "\n".join(f"- `{one.name}`: {one.meaning}" for one in variants)
    keys = [key for key in dict.fromkeys(key for run in runs for key in run.scores) if key not in AVERAGES]
    split = "validation splits" if config.validation else "test splits"
    text = f"""# What parts of the method are worth: {recipe}

{len(runs)} runs, {config.seeds} seeds a variant, {split}. Means over seeds; in brackets the difference from
`{FULL}`, paired by seed, with its 95 % interval by Student's t. A bold difference's interval leaves zero out.

{meanings}

{_table(list(AVERAGES), names, runs)}
## Every score

{_table(keys, names, runs)}"""
    write_text(out / PAGE, text)


def _table(metrics: Sequence[str], variants: Sequence[str], runs: Sequence[ScoredRun]) -> str:
    lines = ["| | " + " | ".join(variants) + " |", "|---" * (len(variants) + 1) + "|"]
    for metric in metrics:
        if any(metric in run.scores for run in runs):
            cells = [_cell(metric, variant, runs) for variant in variants]
            lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(metric: str, variant: str, runs: Sequence[ScoredRun]) -> str:
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
