"""Fine-tuning on a benchmark, its official scores, and the files for its server."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any

from xfm.config.finetune import FinetuneConfig
from xfm.config.tasks import task_spec
from xfm.data.tokenizer import normalise_caption
from xfm.evaluation.benchmarks.benchmark import RUN, Benchmark, JobResult, JobSetting
from xfm.evaluation.benchmarks.ranking import evaluate_retrieval
from xfm.evaluation.benchmarks.read.corpus import Corpus
from xfm.evaluation.benchmarks.readable import answered
from xfm.finetuning.data import RowOrigin
from xfm.finetuning.finetune import finetune_rows
from xfm.finetuning.presets import task_settings
from xfm.finetuning.session import AnyTask
from xfm.finetuning.start import load_base, restored
from xfm.reports.scores import best_of, floors_of
from xfm.reports.stored import METRICS
from xfm.tasks.captioning import CaptioningTask
from xfm.tasks.pictures import Pictures
from xfm.tasks.retrieval import RetrievalTask
from xfm.tasks.rows import SplitRows
from xfm.tasks.vqa import VqaTask
from xfm.training.checkpoint import list_checkpoints
from xfm.training.distributed import pick_device
from xfm.training.pretrain import MODEL_FOLDER


def evaluate_fine_tuned(benchmark: Benchmark, corpus: Corpus[Any], setting: JobSetting) -> JobResult:
    """Fine-tune (or continue), score every split, and write the files for the server."""
    answers = {normalise_caption(answer): answer for answer in reversed(corpus.answers)}
    task = fine_tuned_task(benchmark.kind, corpus, tuple(answer for answer in answers if answer), setting)
    found = JobResult(details={"model": str(setting.folder / RUN / MODEL_FOLDER)})
    if isinstance(task, CaptioningTask):
        task.writing = setting.recipe.writing
    if isinstance(task, VqaTask):
        task.shortlist = setting.recipe.shortlist
    if benchmark.score is None:
        assert isinstance(task, RetrievalTask), "only retrieval ranks"
        return evaluate_retrieval(task, corpus, setting, found)
    submit = benchmark.submit
    for split, rows in corpus.scored.items():
        predictions, whole = _answered(task, rows, split, setting, answers)
        _score(found, split, benchmark, task, [*compress(rows, whole)], [*compress(predictions, whole)])
        if submit and benchmark.submits_all:
            found.submissions.append(submit(setting.folder, split, rows, predictions))
    for split, rows in corpus.hidden.items():
        if submit:  # the server wants every row: those with an unreadable picture are answered without it
            predictions, _ = _answered(task, rows, split, setting, answers)
            found.submissions.append(submit(setting.folder, split, rows, predictions))
    _summarise(found, benchmark)
    return found


def _answered(
    task: AnyTask, rows: Sequence[Any], split: str, setting: JobSetting, answers: Mapping[str, str]
) -> tuple[list[Any], list[bool]]:
    pictures = task.pictures if task.spec.has_pictures else None
    return answered(rows, pictures, split, setting.left_out, lambda: _predicted(task, rows, answers))


def fine_tuned_task(kind: str, corpus: Corpus[Any], answers: tuple[str, ...], setting: JobSetting) -> AnyTask:
    """The task with its fine-tuned model, trained here or before.

    Normalised `answers` are those that questions are ranked on; empty takes the most frequent training
    answers.
    """
    run, recipe = setting.folder / RUN, setting.recipe
    valid = corpus.valid[: recipe.valid_rows or None]
    data = SplitRows(corpus.train, valid, labels=corpus.classes, answers=answers)
    config = replace(recipe.planned(task_spec(kind).task_class().epoch(corpus.train)), device=setting.device)
    if setting.left_out.max_bad is not None:
        config = replace(config, max_bad=setting.left_out.max_bad)
    if (run / METRICS).is_file():
        return _restored(kind, data, config, setting)
    resume = bool(list_checkpoints(run)) if run.is_dir() else False
    return finetune_rows(
        kind,
        setting.model,
        data,
        config,
        run,
        resume=resume,
        progress=setting.progress,
        origin=RowOrigin(lazily=True),
    ).task


def _restored(kind: str, data: SplitRows[Any], config: FinetuneConfig, setting: JobSetting) -> AnyTask:
    base = load_base(setting.folder / RUN / MODEL_FOLDER)
    config = replace(config, device=str(pick_device(setting.device)))
    pictures = Pictures(base.preprocessing)
    kind_of = task_spec(kind).task_class(config.regression)
    return restored(kind_of, base, pictures, data.train, task_settings(config))


def _score(
    found: JobResult,
    split: str,
    benchmark: Benchmark,
    task: AnyTask,
    rows: Sequence[Any],
    predictions: Sequence[Any],
) -> None:
    assert benchmark.score is not None, "ranks are scored elsewhere"
    of_guesses = benchmark.score_guesses or benchmark.score
    constant = task.constant_scores(rows, of_guesses)
    found.splits[split], found.rows[split] = benchmark.score(rows, predictions), len(rows)
    found.chance[split] = task.chance(rows, task.settings.seed, of_guesses)
    best = {name: best_of(floors_of(name, constant)) for name in found.splits[split]}
    found.baseline[split] = {name: value for name, value in best.items() if value is not None}


def _predicted(task: AnyTask, rows: Sequence[Any], answers: Mapping[str, str]) -> list[Any]:
    predictions = task.predict(rows)
    return [answers.get(p, p) if isinstance(p, str) else p for p in predictions]


def _summarise(found: JobResult, benchmark: Benchmark) -> None:
    rows = sum(found.rows.values())
    found.chance |= benchmark.summary(found.chance)
    found.baseline |= benchmark.summary(found.baseline)
    for split, metrics in benchmark.summary(found.splits).items():
        found.splits[split], found.rows[split] = metrics, rows
