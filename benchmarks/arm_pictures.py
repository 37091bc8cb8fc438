"""Draws an ablation: `python -m benchmarks.arm_pictures results/stop.csv results/stop/arms.yaml OUT.png`.

A panel for each average that was declared, a line for each arm but the first: every seed's difference from
the first arm as a dot, their mean, and its interval, which is corrected for the number of them in the file.
"""

import sys
from pathlib import Path

from benchmarks.results import read_rows, scored_runs
from matplotlib.figure import Figure

from xfm.config.ablation import load_ablation
from xfm.evaluation.ablation import differences
from xfm.reports.charts import PALETTE


def draw(rows: Path, arms: Path, picture: Path) -> None:
    """Write the picture; losses are in nats, everything else in points."""
    runs, config = scored_runs(read_rows(rows)), load_ablation(str(arms))
    averages, (first, *others) = [one.name for one in config.averages], config.chosen
    figure = Figure(figsize=(3.3 * len(averages), 0.9 + 0.42 * len(others)), layout="constrained", dpi=110)
    for number, (name, axis) in enumerate(
        zip(averages, figure.subplots(1, len(averages), sharey=True, squeeze=False)[0], strict=True)
    ):
        unit = 1.0 if "loss" in name else 100.0
        for place, (arm, colour) in enumerate(zip(others, PALETTE, strict=False)):
            gain = differences(runs, name, arm.name, len(averages) * len(others))
            own = {run.seed: run.scores[name] for run in runs if run.arm == arm.name}
            base = {run.seed: run.scores[name] for run in runs if run.arm == first.name}
            each = [unit * (own[seed] - base[seed]) for seed in own]
            axis.plot(each, [place] * len(each), "o", color=colour, markersize=4, alpha=0.5)
            if gain is not None:
                axis.plot([unit * gain.low, unit * gain.high], [place, place], color=colour, linewidth=2)
                axis.plot([unit * gain.value], [place], "|", color=colour, markersize=14, markeredgewidth=2)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_title(f"{name}, {'nats' if unit == 1 else 'points'}", fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        if not number:
            axis.set_yticks(range(len(others)), [one.name for one in others])
            axis.set_ylim(len(others) - 0.5, -0.5)
    figure.suptitle(f"difference from {first.name}, {config.seeds} seeds", fontsize=9, x=0.01, ha="left")
    figure.savefig(picture)


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:]))
