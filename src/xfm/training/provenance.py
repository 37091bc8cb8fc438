"""Where a trained model comes from: recipe, position, data, gradient policy, licences, versions."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.recipe import Recipe
from xfm.config.training import Precision, TrainingConfig
from xfm.data.tokenizer import Tokenizer
from xfm.files import read_json_or_nothing
from xfm.modeling.belongings import CODE_LICENCE
from xfm.modeling.folder import Belongings, Preprocessing
from xfm.modeling.gradients import GradientPolicy
from xfm.modeling.model_files import PROVENANCE
from xfm.modeling.model_reading import read_provenance
from xfm.modeling.model_writing import write_description
from xfm.training.run_folder import Describe

_log = logging.getLogger(__name__)

_OF_THE_START = ("recipe", "steps", "seed", "composed", "licences", "began_with")
_OF_THE_WORLD = ("seed", "licences", "fingerprint", "packages", "counts")


def checkpoint_describer(
    config: ModelConfig,
    tokenizer: Tokenizer,
    preprocessing: Preprocessing,
    provenance: Callable[[int, Precision], dict[str, Any]],
) -> Describe:
    """Writes what makes a checkpoint a model folder; `provenance` takes steps done and arithmetic."""

    def describe(folder: Path, steps: int, precision: Precision) -> None:
        made = provenance(steps, precision)
        write_description(folder, config, Belongings(tokenizer, preprocessing, made))

    return describe


def origin_of(model: str | None) -> dict[str, Any]:
    """What stays true of the model folder that a run begins with: its training, its parts, their licences."""
    if model is None:
        return {}
    provenance = read_provenance(model)
    return {key: provenance[key] for key in _OF_THE_START if key in provenance}


def arithmetic_of(config: TrainingConfig, followed: Path | None) -> TrainingConfig:
    """The settings of a run with the arithmetic of the run that it replays, where it would choose its own.

    What `auto` is follows from the machine, and may differ between two processes on one.

    Args:
        config: as the recipe has it.
        followed: folder of the model that came of that run; None where none is replayed.
    """
    if followed is None or config.precision is not Precision.AUTO:
        return config
    said = read_json_or_nothing(followed / PROVENANCE).get("precision")
    if said not in [Precision.FP32.value, Precision.BF16.value]:  # of an older version, or its schedule alone
        _log.warning("%s does not say in which arithmetic it was trained; it is chosen anew", followed)
        return config
    return replace(config, precision=Precision(said))


def describe_run(
    recipe: Recipe,
    steps: int,
    precision: Precision,
    origin: Mapping[str, Any] = MappingProxyType({}),
    changes: Sequence[str] = (),
    average: float = 0.0,
) -> dict[str, Any]:
    """Provenance of the trained model: recipe, position, arithmetic, data, policy, seeds and versions, and
    licences.

    Args:
        recipe: of the run.
        steps: steps done; where every data stream stands follows from it.
        precision: arithmetic of the passes, decided: where the recipe has `auto`, it tells which.
        origin: from `origin_of`.
        changes: what was otherwise, and allowed, when the run was resumed.
        average: decay of the moving average that the weights are; 0 where they are those of the last step.
    """
    world = read_json_or_nothing(Path(recipe.root) / "world.json")  # other data has none
    described: dict[str, Any] = {
        "recipe": recipe.name,
        "steps": steps,
        "position": _position(recipe.training, steps),
        "precision": precision.value,
        "seed": recipe.training.seed,
        "init": to_plain(recipe.init),
        "gradients": _reached(recipe),
        "data": _corpora(recipe),
        "licences": {"code": CODE_LICENCE, "weights": recipe.licence, "data": world.get("licences")},
        "versions": {"xfm": version("xfm"), "torch": torch.__version__},
        "settings": to_plain(recipe),
    }
    if world:
        described["world"] = {key: world[key] for key in _OF_THE_WORLD if key in world}
    if average:
        described["weights"] = f"exponential moving average of decay {average:g}, not those of the last step"
    if changes:
        described["changed_on_resuming"] = list(changes)
    return described | ({"began_with": dict(origin)} if origin else {})


def _reached(recipe: Recipe) -> dict[str, list[str]]:
    tables = [GradientPolicy.of(phase.gradients).table for phase in recipe.phases()]
    return {name: sorted({encoder for table in tables for encoder in table[name]}) for name in tables[0]}


def _position(config: TrainingConfig, steps: int) -> dict[str, Any]:
    length = {"minutes": config.minutes} if config.minutes else {"of": config.steps}
    return {"steps": steps, **length, "batches": steps * config.gradient_accumulation_steps}


def _corpora(recipe: Recipe) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for phase in recipe.phases():
        for name, stream in phase.data.streams.items():
            paths = [corpus.path for corpus in stream.corpora] if stream.taken else []
            found[name] = [*dict.fromkeys([*found.get(name, []), *paths])]
    return {name: paths for name, paths in found.items() if paths}
