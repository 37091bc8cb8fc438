"""The runs of an ablation, one at a time; one that was stopped goes on."""

import csv
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xfm.ablation.averages import ScoredRun, averages
from xfm.ablation.tables import write_tables
from xfm.config.ablation import AblationConfig, Variant
from xfm.config.evaluation import EvaluationConfig
from xfm.config.load import load_recipe
from xfm.config.phases import PhaseConfig
from xfm.config.recipe import Recipe
from xfm.config.training import LossConfig
from xfm.errors import UserError, amount
from xfm.evaluation.suite import evaluate
from xfm.files import read_json_or_nothing, write_text
from xfm.locks import locked
from xfm.modeling.model_reading import read_provenance
from xfm.paths import home_path
from xfm.processes import cores, processor
from xfm.reports.scores import Score
from xfm.results_folder import free_name
from xfm.training.pretrain import MODEL_FOLDER, pretrain

RUNS, RESULTS, SETTINGS, ABOUT = "runs", "results.csv", "ablation.json", "about.json"
_NO_SCORES = ("recipe", "variant", "seed", "steps", "machine", "minutes")
"""What a row of `results.csv` says of a run beside its scores."""


@dataclass(frozen=True)
class Run:
    """A variant with a seed."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.variant.name}-{self.seed}"


def recipe_of(recipe: str, run: Run, options: Sequence[str] = ()) -> Recipe:
    """The recipe of a run: with the seed, the variant's settings, and no weight for what it leaves out.

    Args:
        recipe: name or path of the recipe.
        run: the run.
        options: further options, the same for every run.
    """
    made = load_recipe(recipe, [*options, *run.variant.options, "--training.seed", str(run.seed)])
    absent = dict.fromkeys(run.variant.unweighted, 0.0)
    if not absent:
        return made
    phases = [replace(phase, weights=_without(phase, absent)) for phase in made.curriculum]
    training = replace(made.training, weights=replace(made.training.weights, **absent))
    return replace(made, training=training, curriculum=phases)


def _without(phase: PhaseConfig, absent: Mapping[str, float]) -> LossConfig | None:
    return None if phase.weights is None else replace(phase.weights, **absent)


def ablate(
    recipe: str,
    out: Path,
    world: Path,
    config: AblationConfig,
    options: Sequence[str] = (),
    device: str = "auto",
    progress: bool = True,
) -> list[ScoredRun]:
    """Train and score every variant with every seed, and write the tables.

    Args:
        recipe: name or path of a recipe.
        out: folder; holds a folder a run in `runs/`, `results.csv` with a row a run, and `ablation.md`. What
            is finished there is kept, so that the same command goes on where it was stopped.
        world: the embedded world that is trained and scored on.
        config: variants, seeds, and how they are scored.
        options: options of the recipe, the same for every run.
        device: `auto`, or a torch device.
        progress: show bars, and a line before each run.

    Raises:
        UserError: `out` holds an ablation of another recipe, options or scale, or a run failed.
    """
    out, world = home_path(out), home_path(world)
    options = ["--root", str(world), *options]
    runs = [Run(variant, seed) for seed in range(config.seeds) for variant in config.chosen]
    settings = {"recipe": recipe, "options": options, "scale": config.scale, "validation": config.validation}
    with locked(out, beside=True):
        _require_same(out, settings)
        rows: list[dict[str, str]] = []
        scored: list[ScoredRun] = []
        for number, run in enumerate(runs, 1):
            if progress:
                said = f"{run.variant.name}, seed {run.seed}: {run.variant.meaning}"
                print(f"{number}/{len(runs)} {said}", flush=True)
            made, folder = recipe_of(recipe, run, options), out / RUNS / run.name
            found = _finished(made, folder, world, config, device, progress)
            values = {key: score.value for key, score in found.items()}
            scored.append(ScoredRun(run.variant.name, run.seed, values | averages(values, config.validation)))
            rows.append(_about(made, run, folder) | {k: f"{v:.5f}" for k, v in scored[-1].scores.items()})
            write_text(out / RESULTS, as_csv(rows))
            write_tables(out, recipe, config, scored)
    return scored


def _require_same(out: Path, settings: dict[str, object]) -> None:
    held = read_json_or_nothing(out / SETTINGS)
    if held and held != settings:
        name = next(name for name, value in settings.items() if held.get(name) != value)
        raise UserError(
            f"{out} holds an ablation with {name} {held.get(name)}, not {settings[name]}: "
            f"give another folder, such as --out {free_name(out)}"
        )
    if not held and out.exists() and any(out.iterdir()):
        raise UserError(
            f"{out} holds something else than an ablation: give another folder, as --out {free_name(out)}"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / SETTINGS, json.dumps(settings, indent=2) + "\n")


def _finished(
    recipe: Recipe, folder: Path, world: Path, config: AblationConfig, device: str, progress: bool
) -> dict[str, Score]:
    began = time.perf_counter()
    if not (folder / MODEL_FOLDER).exists():
        pretrain(recipe, folder, (folder / "config.yaml").exists(), progress, device)
    evaluation = EvaluationConfig(
        seed=recipe.training.seed,
        device=device,
        scale=config.scale,
        validation=config.validation,
        scratch=False,  # runs are compared with each other
        keep_models=False,
    )
    scores = evaluate(folder / MODEL_FOLDER, world, folder, evaluation, progress)
    if not (folder / ABOUT).exists():
        about = {"machine": machine(), "minutes": f"{(time.perf_counter() - began) / 60:.1f}"}
        write_text(folder / ABOUT, json.dumps(about) + "\n")
    return scores


def machine() -> str:
    """The processor and how many of its cores there are, in words."""
    return f"{processor()}, {amount(cores(), 'core')}"


def _about(recipe: Recipe, run: Run, folder: Path) -> dict[str, str]:
    """What a row of `results.csv` says of a finished run; its minutes are those of the last start."""
    told = {"recipe": recipe.name, "variant": run.variant.name}
    steps = read_provenance(folder / MODEL_FOLDER)["steps"]  # by the clock, the recipe does not say them
    told |= {"seed": str(run.seed), "steps": str(steps)}
    return told | {name: str(value) for name, value in read_json_or_nothing(folder / ABOUT).items()}


def scored_runs(rows: Iterable[Mapping[str, str]]) -> list[ScoredRun]:
    """The runs of a `results.csv`, of which some may lack scores that others have."""
    return [
        ScoredRun(
            row["variant"],
            int(row["seed"]),
            {key: float(cell) for key, cell in row.items() if key not in _NO_SCORES and cell},
        )
        for row in rows
    ]


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as CSV with the columns of all of them, in the order in which they come up."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
