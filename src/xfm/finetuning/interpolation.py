"""Weights between those before a fine-tuning and those after it (WiSE-FT, arXiv 2109.01903)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xfm.config.finetune import FinetuneConfig, TuningMode
from xfm.config.task_spec import TaskSpec
from xfm.core.errors import UserError
from xfm.finetuning.presets import is_probe
from xfm.finetuning.tuning_run import TuningRun
from xfm.tasks.base import AnyTask


def check_interpolation(spec: TaskSpec, config: FinetuneConfig, valid: Sequence[Any] | None) -> None:
    """Refuse what leaves nothing to choose between, or by; `valid` is None before the rows are read."""
    modes = {getattr(config.tune, name) for name in spec.encoders}
    reasons = {
        "there are no validation rows to choose by: give --validation": valid is not None and not valid,
        "no encoder learns, so that nothing lies between before and after: leave it out": (
            is_probe(config, spec) or modes == {TuningMode.FREEZE}
        ),
        "it averages whole weights, tune.save_adapter_only saves what was added: leave one of the two out": (
            config.tune.save_adapter_only
        ),
    }
    for reason, holds in reasons.items():
        if config.interpolate and holds:
            raise UserError(f"interpolate: {reason}")


@torch.no_grad()
def interpolate(
    task: AnyTask, before: Mapping[str, Tensor], run: TuningRun, valid: Sequence[Any], config: FinetuneConfig
) -> TuningRun:
    """Give a fine-tuned task the weights `(1 - share) * before + share * after` of the share that is best on
    validation rows, the smallest of equal ones; 0 and 1 are always tried.

    Floats of the pre-trained parts are interpolated, statistics of batch normalisation too; integers, and
    what the task added, stay as the fine-tuning made them. All processes call it.
    """
    metric = config.choose_by or task.primary
    live = {name: one for name, one in task.module.shared_state().items() if one.is_floating_point()}
    ends = {name: (before[name].to(one), one.clone()) for name, one in live.items()}

    def give(share: float) -> None:
        for name, tensor in live.items():
            tensor.copy_(torch.lerp(*ends[name], share))

    curve = dict[float, float]()
    for share in sorted({0.0, 1.0, *config.interpolate}):
        give(share)
        curve[share] = task.validation_metrics(valid, task.predict(valid))[metric]
    best = max(curve, key=lambda share: (curve[share], -share))
    give(best)
    values = ", ".join(f"{value:.3f} at {share:g}" for share, value in curve.items())
    way = f"{best:g} of the way from those before (0) to the fine-tuned (1)"
    return replace(run, share=best, curve=curve, weights=f"{way}: validation {metric} {values}")
