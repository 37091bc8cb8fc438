"""Weights between those before a fine-tuning and those after it (WiSE-FT, arXiv 2109.01903)."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig, TuningMode
from xfm.config.task_spec import TaskSpec
from xfm.core.errors import UserError
from xfm.finetuning.presets import is_probe
from xfm.finetuning.retention import MEANINGS, RetentionTest
from xfm.finetuning.tuning_run import TuningRun
from xfm.reports.scores import Score
from xfm.tasks.base import AnyTask
from xfm.training import distributed


def check_interpolation(spec: TaskSpec, config: FinetuneConfig, valid: Sequence[Any]) -> None:
    """Refuse what leaves nothing between two weights, or nothing to choose by; `config` is a decided one."""
    modes = {getattr(config.tune, name) for name in spec.encoders}
    reasons = {
        "it chooses by validation rows, and there are none: give --validation": not valid,
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
    task: AnyTask,
    run: TuningRun,
    valid: Sequence[Any],
    config: FinetuneConfig,
    kept: RetentionTest,
    progress: bool = False,
) -> TuningRun:
    """Give a fine-tuned task the weights `(1 - share) * before + share * after` of the share that is best on
    validation rows, the smallest of equal ones; 0 and 1 are always tried.

    Floats of the pre-trained parts are interpolated, statistics of batch normalisation too; integers, and
    what the task added, stay as the fine-tuning made them. All processes call it.
    """
    metric, seed = config.choose_by or task.primary, task.settings.seed
    live = {name: one for name, one in task.module.shared_state().items() if one.is_floating_point()}
    ends = {name: (kept.before[name].to(one), one.clone()) for name, one in live.items()}

    def give(share: float) -> None:
        for name, tensor in live.items():
            tensor.copy_(torch.lerp(*ends[name], share))

    curve, runs = dict[float, dict[str, Score]](), dict[float, TuningRun]()
    for share in sorted({0.0, 1.0, *config.interpolate}, reverse=True):
        give(share)
        value = task.validation_metrics(valid, task.predict(valid))[metric]
        cost, still = distributed.on_first(partial(kept.measure, live))
        runs[share] = replace(run, share=share, cost=cost, kept=still)
        curve[share] = {metric: Score(value, None, None, len(valid), seed)}
        curve[share] |= {name: still[name] for name in MEANINGS if name in still}
        if progress:
            tqdm.write(f"weights {share:g} of the way: validation {metric} {value:.3f}", file=sys.stderr)
    best = max(curve, key=lambda share: (curve[share][metric].value, -share))
    give(best)
    return replace(runs[best], curve=dict(sorted(curve.items())))
