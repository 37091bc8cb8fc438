"""A fine-tuned model beside simple baselines on the same rows, split by split."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from xfm.finetuning.baselines.frozen import PROBE
from xfm.finetuning.baselines.material import LEAST_BUDGET, Material
from xfm.finetuning.baselines.strong import BaselineResult, scored, strong_baselines
from xfm.finetuning.leaderboard import THIS_MODEL, Leaderboard, Sort, System, leaderboard
from xfm.finetuning.session import Session
from xfm.finetuning.split_scores import groups_of
from xfm.tasks.base import Task

SWITCHED_OFF = {"strong simple baselines": "switched off by --baseline false"}


def strong_of(
    run: Session,
    task: Task[Any, Any, Any],
    tests: Mapping[str, Sequence[Any]],
    seconds: float,
    left: float = inf,
) -> tuple[dict[str, BaselineResult], Mapping[str, str]]:
    """The strong baselines by name, unless they are switched off, and why others are missing.

    Args:
        run: model, rows and settings.
        task: with the fine-tuned model.
        tests: rows by split.
        seconds: of the training.
        left: seconds until everything must be done.
    """
    if not run.config.baseline:
        return {}, SWITCHED_OFF
    data, budget = run.data, min(max(LEAST_BUDGET, seconds), left)
    material = Material(task, run.pretrained, run.pictures, data.train, data.valid, tests, budget)
    return strong_baselines(material, run.progress, without={PROBE} if run.probed else set(), left=left)


def compare(
    task: Task[Any, Any, Any],
    tests: Mapping[str, Sequence[Any]],
    systems: Sequence[System],
    missing: Mapping[str, str],
) -> dict[str, Leaderboard]:
    """Place systems, constant guesses and chance on every split.

    Args:
        task: scores.
        tests: rows by split.
        systems: the model first.
        missing: why others are absent.
    """
    boards: dict[str, Leaderboard] = {}
    for name, rows in tests.items():
        own = [*systems]
        for constant, guessed in task.constants(rows).items():
            found = scored(task, {name: rows}, {name: guessed}, 0.0)
            own.append(System(constant, Sort.CONSTANT, found))
        chance = task.chance(rows, task.settings.seed)
        if task.primary in chance:
            own.append(System("chance", Sort.CHANCE, BaselineResult({name: chance}, {}, {})))
        boards[name] = leaderboard(task, name, rows, own, groups_of(task, rows), missing)
    return boards


def systems_of(
    model: BaselineResult, strong: Mapping[str, BaselineResult], single: Mapping[str, BaselineResult]
) -> list[System]:
    """The model, strong baselines, and the same training without one modality."""
    return [
        System(THIS_MODEL, Sort.MODEL, model),
        *(System(name, Sort.STRONG, found) for name, found in strong.items()),
        *(System(f"this fine-tuning, {name}", Sort.ABLATION, found) for name, found in single.items()),
    ]
