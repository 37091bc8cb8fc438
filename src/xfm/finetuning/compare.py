"""A fine-tuned model beside simple baselines on the same rows, split by split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xfm.finetuning.baselines.material import LEAST_BUDGET, Material
from xfm.finetuning.baselines.strong import BaselineResult, scored, strong_baselines
from xfm.finetuning.leaderboard import THIS_MODEL, Leaderboard, Sort, System, leaderboard
from xfm.finetuning.session import Session
from xfm.finetuning.split_scores import groups_of
from xfm.tasks.base import Task

SWITCHED_OFF = {"strong simple baselines": "switched off by --baseline false"}


@dataclass(frozen=True)
class Comparison:
    """Strong baselines by name, and the leaderboard of each test split."""

    strong: Mapping[str, BaselineResult]
    boards: Mapping[str, Leaderboard]


def compare(
    run: Session,
    task: Task[Any, Any, Any],
    tests: Mapping[str, Sequence[Any]],
    predictions: Mapping[str, list[Any]],
    single: Mapping[str, BaselineResult],
    seconds: float,
) -> Comparison:
    """Run the strong baselines, unless they are switched off, and place everything.

    Args:
        run: model, rows and settings.
        task: with the fine-tuned model.
        tests: rows by split.
        predictions: likewise.
        single: the same training without one modality, by name.
        seconds: of the training.
    """
    strong: dict[str, BaselineResult] = {}
    missing = SWITCHED_OFF
    if run.config.baseline:
        data, budget = run.data, max(LEAST_BUDGET, seconds)
        material = Material(task, run.pretrained, run.pictures, data.train, data.valid, tests, budget)
        strong, missing = strong_baselines(material, run.progress)
    systems = [
        System(THIS_MODEL, Sort.MODEL, scored(task, tests, predictions, seconds)),
        *(System(name, Sort.STRONG, found) for name, found in strong.items()),
        *(System(f"this fine-tuning, {name}", Sort.ABLATION, found) for name, found in single.items()),
    ]
    boards = {}
    for name, rows in tests.items():
        own = [*systems]
        for constant, guessed in task.constants(rows).items():
            found = scored(task, {name: rows}, {name: guessed}, 0.0)
            own.append(System(constant, Sort.CONSTANT, found))
        chance = task.chance(rows, task.settings.seed)
        if task.primary in chance:
            own.append(System("chance", Sort.CHANCE, BaselineResult({name: chance}, {}, {})))
        boards[name] = leaderboard(task, name, rows, own, groups_of(task, rows), missing)
    return Comparison(strong, boards)
