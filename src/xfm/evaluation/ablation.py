"""Ablations: the arms of a recipe trained and scored alike, compared seed by seed. The runs are made one at a
time; one that was stopped goes on."""

import csv
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from xfm.config.ablation import AblationConfig, Arm
from xfm.config.evaluation import EvaluationConfig
from xfm.config.load import load_recipe
from xfm.config.plain import to_plain
from xfm.config.recipe import Recipe
from xfm.core.errors import amount
from xfm.core.files import read_json_or_nothing, write_text
from xfm.core.locks import locked
from xfm.core.paths import home_path
from xfm.core.processes import cores, processor
from xfm.core.results_folder import ResultOrigin, require_free, sign
from xfm.evaluation.suite import evaluate
from xfm.metrics.intervals import Interval
from xfm.metrics.numbers import percent
from xfm.models.model_reading import read_provenance
from xfm.training.pretrain import MODEL_FOLDER, pretrain


@dataclass(frozen=True)
class ScoredRun:
    """A finished run: its arm, seed and scores by key; the key of an average has no slash."""

    arm: str
    seed: int
    scores: Mapping[str, float]


Scorer = Callable[[Path, int], Mapping[str, float]]
"""Scores of the model in a folder, trained with a seed."""


def differences(runs: Sequence[ScoredRun], metric: str, arm: str, comparisons: int = 1) -> Interval | None:
    """Mean difference from the arm of the first run over common seeds with its 95 % interval by Student's t;
    None without any. So many `comparisons` hold together at that level (Bonferroni). It counts seeds, no test
    cases; that of a single seed is infinite."""
    first, own = ({r.seed: r.scores for r in runs if r.arm == name} for name in (runs[0].arm, arm))
    gains = [
        scores[metric] - first[seed][metric]
        for seed, scores in own.items()
        if metric in scores and metric in first.get(seed, {})
    ]
    if not gains:
        return None
    mean = float(np.mean(gains))
    if len(gains) == 1:
        return Interval(mean, -np.inf, np.inf)
    half = float(
        stats.t.ppf(1 - 0.025 / comparisons, len(gains) - 1) * np.std(gains, ddof=1) / np.sqrt(len(gains))
    )
    return Interval(mean, mean - half, mean + half)


PAGE = "ablation.md"


def _write_tables(out: Path, config: AblationConfig, runs: Sequence[ScoredRun]) -> None:
    meanings = "\n".join(f"- `{one.name}`: {one.meaning}" for one in config.chosen)
    split = "validation splits" if config.validation else "test splits"
    text = f"""# What parts of the method are worth: {config.recipe}

{len(runs)} runs, {config.seeds} seeds an arm, {split}. Means over seeds; in brackets the difference from
`{runs[0].arm}`, paired by seed, with its 95 % interval by Student's t over seeds. A bold one's leaves zero
out. Those of the averages are corrected for their number (Bonferroni), those of single scores are not.

{meanings}

## Averages

{average_table(runs, len(config.averages) * (len(config.chosen) - 1))}

## Every score

{score_table(runs)}
"""
    write_text(out / PAGE, text)


def average_table(runs: Sequence[ScoredRun], comparisons: int = 0) -> str:
    """A row an arm, a column an average; the intervals hold together, or for `comparisons`."""
    groups = dict.fromkeys(key for run in runs for key in run.scores if "/" not in key)
    names = dict.fromkeys(run.arm for run in runs)
    among = comparisons or max(1, len(groups) * (len(names) - 1))
    rows = [[f"`{name}`", *(cell(group, name, runs, among) for group in groups)] for name in names]
    return _markdown(["", *groups], rows)


def score_table(runs: Sequence[ScoredRun]) -> str:
    """A row a score, a column an arm; averages are not among them."""
    keys = dict.fromkeys(key for run in runs for key in run.scores if "/" in key)
    names = dict.fromkeys(run.arm for run in runs)
    rows = [[key, *(cell(key, name, runs) for name in names)] for key in keys]
    return _markdown(["", *(f"`{name}`" for name in names)], rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def cell(metric: str, arm: str, runs: Sequence[ScoredRun], comparisons: int = 1) -> str:
    """The mean over seeds, and the difference from the arm of the first run in brackets."""
    values = [run.scores[metric] for run in runs if run.arm == arm and metric in run.scores]
    if not values:
        return "-"
    share = "loss" not in metric  # losses are in nats
    unit, digits, most = (100, 1, 1.0) if share else (1, 3, np.inf)  # no share changes by more
    mean, gain = float(np.mean(values)), differences(runs, metric, arm, comparisons)
    shown = percent(mean) if share else f"{mean:.{digits}f}"
    if arm == runs[0].arm or gain is None:
        return shown
    more = f"{unit * gain.value:+.{digits}f}"
    more = f"**{more}**" if gain.low > 0 or gain.high < 0 else more
    low, high = unit * max(gain.low, -most), unit * min(gain.high, most)
    ends = f", {low:+.{digits}f} to {high:+.{digits}f}" if np.isfinite(gain.low) else ""
    return f"{shown} ({more}{ends})"


RUNS, RESULTS = "runs", "results.csv"
ABOUT, SCORES = "about.json", "scores.json"
"""Of a run: where and how long it was made, and its scores, which are written last."""


def recipe_of(recipe: str, arm: Arm, seed: int, options: Sequence[str] = ()) -> Recipe:
    """A recipe with a seed, an arm's settings, and weight 0 for the losses that it drops."""
    given = [one.replace("{seed}", str(seed)) for one in (*options, *arm.options)]
    made = load_recipe(recipe, [*given, "--training.seed", str(seed)])
    absent = dict.fromkeys(arm.without, 0.0)
    if not absent:
        return made
    phases = [
        replace(phase, weights=phase.weights and replace(phase.weights, **absent))
        for phase in made.curriculum
    ]
    training = replace(made.training, weights=replace(made.training.weights, **absent))
    return replace(made, training=training, curriculum=phases)


def ablate(
    config: AblationConfig,
    out: Path,
    world: Path,
    options: Sequence[str] = (),
    score: Scorer | None = None,
    device: str = "auto",
    progress: bool = True,
) -> list[ScoredRun]:
    """Train every arm with every seed and `score` its model, by default as `xfm evaluate` on `world`; write
    `results.csv` and `ablation.md` into `out`. Finished runs in `out/runs/` are kept, so that the same call
    continues. UserError where `out` holds an ablation with another recipe, options, arms or scale."""
    out, world = home_path(out), home_path(world)
    options = ["--root", str(world), *config.options, *options]
    runs = [
        (arm, seed, recipe_of(config.recipe, arm, seed, options))
        for seed in range(config.seeds)
        for arm in config.chosen
    ]
    arms = [(one.name, one.options, one.without) for one in config.arms]
    settings = {"recipe": config.recipe, "options": options, "scale": config.scale, "arms": arms}
    settings |= {"validation": config.validation, "averages": to_plain(config.averages)}
    subject = {name: str(value) for name, value in settings.items()}
    maker = ResultOrigin("ablate", subject, config.recipe)
    with locked(out, beside=True):
        require_free(out, maker)
        sign(out, maker)
        rows: list[dict[str, str]] = []
        scored: list[ScoredRun] = []
        for number, (arm, seed, made) in enumerate(runs, 1):
            if progress:
                print(f"{number}/{len(runs)} {arm.name}, seed {seed}: {arm.meaning}", flush=True)
            folder = out / RUNS / f"{arm.name}-{seed}"
            evaluation = partial(_evaluated, world, folder, config, device, progress)
            values = _finished(made, folder, score or evaluation, device, progress)
            scored.append(ScoredRun(arm.name, seed, values | config.averaged(values)))
            steps = read_provenance(folder / MODEL_FOLDER)["steps"]  # by the clock, no recipe says them
            told = {"recipe": made.name, "arm": arm.name, "seed": str(seed), "steps": str(steps)}
            told |= {name: str(value) for name, value in read_json_or_nothing(folder / ABOUT).items()}
            rows.append(told | {key: f"{value:.5f}" for key, value in scored[-1].scores.items()})
            write_text(out / RESULTS, as_csv(rows))
            _write_tables(out, config, scored)
    return scored


def _finished(recipe: Recipe, folder: Path, score: Scorer, device: str, progress: bool) -> dict[str, float]:
    model = folder / MODEL_FOLDER
    if not (model.exists() and (folder / SCORES).exists()):
        began = time.perf_counter()
        if not model.exists():
            pretrain(recipe, folder, (folder / "config.yaml").exists(), progress, device)
        scores = dict(score(model, recipe.training.seed))
        about = {"machine": machine(), "minutes": f"{(time.perf_counter() - began) / 60:.1f}"}
        write_text(folder / ABOUT, json.dumps(about) + "\n")
        write_text(folder / SCORES, json.dumps(scores, indent=1) + "\n")
    return read_json_or_nothing(folder / SCORES)


def _evaluated(
    world: Path, folder: Path, config: AblationConfig, device: str, progress: bool, model: Path, seed: int
) -> dict[str, float]:
    evaluation = EvaluationConfig(
        seed=seed,
        device=device,
        scale=config.scale,
        validation=config.validation,
        baselines=False,  # runs are compared with each other
        keep_models=False,
    )
    scores = evaluate(model, world, folder, evaluation, progress)
    return {key: score.value for key, score in scores.items()}


def machine() -> str:
    """Processor and number of cores."""
    return f"{processor()}, {amount(cores(), 'core')}"


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as CSV with the columns of all of them, in the order in which they come up."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
