"""Parts with a short fine-tuning: a table of tasks, and one function over it."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.evaluation import Part, ShortTuning
from xfm.evaluation.context import Context
from xfm.evaluation.parts.probes import folds_of, probe
from xfm.finetuning.presets import task_settings
from xfm.finetuning.split_scores import add_scores, groups_of
from xfm.finetuning.tuning_run import TuningRun, save_tuned, tune
from xfm.models.features import text_features
from xfm.models.folder import Pretrained
from xfm.reports.scores import OWN, SPLITS, PartResult, floors_of
from xfm.tasks.base import AnyTask, HiddenInput
from xfm.tasks.grounding import GroundingTask
from xfm.tasks.reasoning import ReasoningTask
from xfm.tasks.rows import PAIR_COLUMNS, TRUTH, LabelledText, SplitRows, read_image_pairs, read_text_pairs
from xfm.tasks.text_classification import TextClassificationTask
from xfm.tasks.vqa import VqaTask
from xfm.training.pretrain import MODEL_FOLDER


def _add_probe_score(
    context: Context, result: PartResult, task: AnyTask, place: str, rows: Sequence[LabelledText]
) -> None:
    assert isinstance(task, TextClassificationTask)
    seed, train = task.settings.seed, task.train_rows
    floors = floors_of("accuracy", task.constant_scores(rows))
    for blanked, name in task.single(train).items():
        floors[name] = float(_probe(context, task, rows, blanked)[0].mean())
    right, chosen = _probe(context, task, rows, HiddenInput.NOTHING)
    chance = task.chance(rows, seed).get("accuracy")
    result.probes[place.partition("/")[0]] = {OWN: chosen}
    result.add_rows(f"{place}/probe_accuracy", right, groups_of(task, rows), chance, seed, floors)


def _probe(
    context: Context, task: TextClassificationTask, test: Sequence[LabelledText], blanked: HiddenInput
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    config, size = context.config.probe, context.config.batch_size
    train = list(task.train_rows)[: config.train_rows or None]
    rows, reader = [*train, *test], copy.copy(task)
    reader.settings = replace(task.settings, blanked=blanked)
    tokens = (reader.tokens(rows[at : at + size]) for at in range(0, len(rows), size))
    views = {"token 0": text_features(context.encoder, tokens)}
    folds = folds_of(groups_of(task, train), context.config.seed)
    known = np.array([row.label for row in train])
    found, chosen = probe(views, known, folds, config.inverse_penalties)
    return (found == np.array([row.label for row in test])).astype(np.float64), chosen


def _add_zero_shot(
    context: Context, result: PartResult, task: AnyTask, place: str, rows: Sequence[Any]
) -> None:
    data = SplitRows(task.train_rows)
    untuned = type(task)(context.pretrained, context.pictures, data, task.settings)
    add_scores(result, untuned, place, rows, untuned.predict(rows), {}, suffix="_zero_shot")


@dataclass(frozen=True)
class TunedPart:
    """A part that fine-tunes. Metrics `only` are scores (empty: all), `also` adds further ones of a split;
    `columns` is `--columns` of the world's files, and it begins with the model of the part `after`."""

    task: type[AnyTask]
    reader: Callable[[Context], Callable[[Path], list[Any]]]
    tests: tuple[str, ...] = SPLITS
    labels: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    also: Callable[[Context, PartResult, AnyTask, str, Sequence[Any]], None] | None = None
    columns: str = ""
    after: Part | None = None


_TEXT_PAIRS = TunedPart(
    TextClassificationTask,
    lambda context: read_text_pairs,
    tests=("test",),
    labels=TRUTH,
    only=("accuracy",),
    also=_add_probe_score,
    columns=PAIR_COLUMNS,
)
TUNED: Mapping[Part, TunedPart] = MappingProxyType(
    {
        Part.VQA: TunedPart(VqaTask, lambda context: VqaTask.read),
        Part.REASONING: TunedPart(ReasoningTask, lambda context: read_image_pairs, only=("accuracy",)),
        Part.GROUNDING: TunedPart(
            GroundingTask,
            lambda context: partial(GroundingTask.read, bad=context.left_out.add),
            also=_add_zero_shot,
        ),
        Part.ENTAILMENT: _TEXT_PAIRS,
        # As RoBERTa's MRPC and STS-B, which begin with its model of MNLI (Liu et al. 2019, section 5.1).
        Part.PARAPHRASE: replace(_TEXT_PAIRS, after=Part.ENTAILMENT),
    }
)
"""A new part is a row here, a member of `Part`, and its steps in `EvaluationConfig` under the part's name."""
FROM_SCRATCH = ", from scratch"
SHOWN = 10
"""Rows of a split that the report shows."""


_Beginning = tuple[Pretrained, Mapping[str, Tensor]]
"""A model, and its tensors after another part's fine-tuning, as the task names them."""


def run_tuned(part: Part, context: Context) -> PartResult:
    """A short fine-tuning, and its `baselines`: the same without each modality, and from scratch."""
    own, result, name = TUNED[part], PartResult(), part.value
    short: ShortTuning = getattr(context.config, name)
    read = own.reader(context)
    data = _training_rows(context, part)
    tests = {split: context.rows(read, name, split, short.test_rows) for split in context.splits(own.tests)}
    beginning = _beginning(context, result, part)
    task, run = _tuned(context, result, part, data, beginning)
    _remember(context, part, task)
    predictions = {split: task.predict(rows) for split, rows in tests.items()}
    if context.kept is not None:
        task.finish()
        folder, settings = context.kept / name / MODEL_FOLDER, asdict(context.config)
        more: dict[str, Any] = {"evaluation": settings}
        if own.after:
            more["intermediate_task"] = own.after.value
        save_tuned(folder, task, context.pretrained, context.origin, run, **more)
    without: dict[str, dict[str, Mapping[str, float]]] = {split: {} for split in tests}
    single = own.task.single(data.train) if context.config.baselines else {}
    for blanked, floor in single.items():
        other, _ = _tuned(context, result, part, data, beginning, run.step, blanked, f", {floor}")
        for split, rows in tests.items():
            without[split][floor] = other.metrics(rows, other.predict(rows))
    scratch: dict[str, Mapping[str, float]] = {}
    if context.config.baselines:
        untrained = _beginning(context, result, part, scratch=True)
        other, _ = _tuned(context, result, part, data, untrained, run.step, which=FROM_SCRATCH)
        _remember(context, part, other, scratch=True)
        scratch = {split: other.metrics(rows, other.predict(rows)) for split, rows in tests.items()}
    for split, rows in tests.items():
        place = f"{name}/{split}"
        add_scores(
            result, task, place, rows, predictions[split], without[split], own.only, scratch.get(split)
        )
        if own.also:
            own.also(context, result, task, place, rows)
        picked = np.random.default_rng(context.config.seed).permutation(len(rows))[:SHOWN].tolist()
        cases = [task.case(rows[at], predictions[split][at]) for at in picked]
        result.examples[split] = [
            asdict(case) | {"pictures": [*map(context.relative, case.pictures)]} for case in cases
        ]
    for key in [(first, scratch) for first, scratch in context.learned if first is own.after]:
        del context.learned[key]
    return result


def _training_rows(context: Context, part: Part) -> SplitRows[Any]:
    own, short = TUNED[part], getattr(context.config, part.value)
    rows = context.rows(own.reader(context), part.value, "train", short.train_rows)
    return SplitRows(rows, labels=own.labels)


def _beginning(context: Context, result: PartResult, part: Part, scratch: bool = False) -> _Beginning:
    """The model that a part begins with; trains the intermediate task if this run has not yet."""
    model, first = context.scratch if scratch else context.pretrained, TUNED[part].after
    if first is None:
        return model, {}
    if (first, scratch) not in context.learned:
        which, steps = f", before {part.value}", 0
        if scratch:
            steps = int(result.tunings[first.value + which]["steps"])
        else:
            context.time_budget.one_more(first)
        begins = _beginning(context, result, first, scratch)
        rows = _training_rows(context, first)
        which += FROM_SCRATCH if scratch else ""
        task, _ = _tuned(context, result, first, rows, begins, steps, which=which)
        _remember(context, first, task, scratch)
    return model, context.learned[first, scratch]


def _remember(context: Context, part: Part, task: AnyTask, scratch: bool = False) -> None:
    if any(TUNED[other].after is part for other in context.config.parts if other in TUNED):
        state, head = task.module.state_dict(), task.module.added_state()
        context.learned[part, scratch] = {n: t.clone() for n, t in state.items() if n not in head}


def _tuned(
    context: Context,
    result: PartResult,
    part: Part,
    data: SplitRows[Any],
    beginning: _Beginning,
    steps: int = 0,
    blanked: HiddenInput = HiddenInput.NOTHING,
    which: str = "",
) -> tuple[AnyTask, TuningRun]:
    """A part's trained task; the result keeps losses and steps. The task's own model makes as many steps as
    fit into its time; baselines make `steps` within that time."""
    short: ShortTuning = getattr(context.config, part.value)
    config = short.whole(context.config.seed, context.config.precision, str(context.device))
    model, learned = beginning
    task = TUNED[part].task(model, context.pictures, data, task_settings(config, blanked))
    if learned:
        task.module.load_state_dict({**learned, **task.module.added_state()})
    minutes = context.time_budget.minutes()
    if steps:
        config = replace(config, steps=steps)
    by_clock, limit = (0.0, 60 * minutes) if steps else (minutes, 0.0)
    run = tune(task, config, progress=context.progress, minutes=by_clock, limit=limit)
    context.time_budget.tuned(run.seconds)
    result.curves[part.value + which] = list(run.losses)
    made = {"steps": run.step, "of": steps or short.steps, "seconds": round(run.seconds, 2)}
    result.tunings[part.value + which] = made
    return task, run
