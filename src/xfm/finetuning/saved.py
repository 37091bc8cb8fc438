"""A fine-tuned model as it is saved: by `xfm.finetune`, and by the evaluation on its way."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from xfm.config.finetune import TuningConfig
from xfm.finetuning.tuning_run import TuningRun
from xfm.models.adapters import save_adapter
from xfm.models.folder import Belongings, Pretrained, save_model
from xfm.models.model_files import FRESH
from xfm.models.precision import resolve
from xfm.tasks.base import Task

REMEMBERED = 16
"""Models that a model began with, one from the other, of which its provenance tells."""


def save_tuned(
    folder: Path,
    task: Task[Any, Any, Any],
    pretrained: Pretrained,
    began_from: str,
    run: TuningRun,
    valid: int = 0,
    apart: TuningConfig | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Write the model of a fine-tuning, whole or not at all, and say where it comes from.

    Args:
        folder: of the model.
        task: fine-tuned and finished.
        pretrained: what it began with.
        began_from: where that lies, as it was said.
        run: how the training went.
        valid: number of validation rows.
        apart: write what was learned alone, an adapter, of which this says rank and scale.
        settings: everything else that its numbers depend on, by name.

    Returns:
        The provenance that the model's folder holds.

    Raises:
        UserError: the disk is full, or the place is not writable.
    """
    before = pretrained.provenance
    trained_on = bool(task.spec.uses)  # what only stands beside the new head stays as it began
    fresh = None if trained_on else before.get(FRESH)
    provenance = {
        "task": task.spec.name,
        "fine_tuned_from": began_from,
        "steps": run.step,
        "best_step": run.best.step if run.best else None,
        "precision": (run.precision or resolve(task.settings.precision, task.settings.device)).value,
        "seed": task.settings.seed,
        "rows": {"train": len(task.train_rows), "valid": valid},
        "licences": before.get("licences", {}),
        "versions": {"xfm": version("xfm"), "torch": torch.__version__},
        **settings,
        **({FRESH: fresh} if fresh else {}),
        "began_with": _remembered({key: value for key, value in before.items() if key != "settings"}),
    }
    model, tokenizer = pretrained.model, pretrained.given_tokenizer
    if apart is None:
        save_model(folder, model, tokenizer, pretrained.preprocessing, provenance, task.module)
        return provenance
    own = Belongings(tokenizer, pretrained.preprocessing, provenance, task.module)
    scale = apart.rank, apart.alpha
    save_adapter(folder, began_from, model.state_dict(), model.config, own, run.additions, scale)
    return provenance


def _remembered(before: dict[str, Any], models: int = REMEMBERED) -> dict[str, Any]:
    """The provenance of the models before, the first of many left out: who tunes a model daily goes on."""
    inner = before.get("began_with")
    if not isinstance(inner, dict):
        return before
    others = {key: value for key, value in before.items() if key != "began_with"}
    return {**others, "began_with": _remembered(inner, models - 1)} if models > 1 else others
