"""Evaluations on a benchmark: fine-tuned, on frozen features, by prompts, and by ranking."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from xfm.config.benchmark import BenchmarkRecipe, Edition, benchmark_recipes, load_benchmark
from xfm.config.image import Framing
from xfm.config.probing import FrozenConfig, Method
from xfm.config.tasks import task_spec
from xfm.core.errors import amount, naming
from xfm.data.skipped import SkippedRecords
from xfm.data.tokenizer import normalise_caption
from xfm.evaluation.benchmarks.read.readers import Corpus
from xfm.evaluation.benchmarks.registry import IMAGENET, Benchmark
from xfm.evaluation.benchmarks.scorers import Metrics
from xfm.evaluation.probing.scoring import LabelledSplits, evaluate_frozen
from xfm.finetuning.finetune import finetune_rows
from xfm.finetuning.presets import task_settings
from xfm.finetuning.start import readable, restored
from xfm.metrics.classification import mean_scores
from xfm.metrics.recalls import Rule, chance_recalls, own_captions, recalls
from xfm.models.features import CAPTION_TOKENS, Encoder, encode_images, encode_texts
from xfm.models.interop.loading import load
from xfm.reports.scores import METRICS, Score, floors_of, write_output
from xfm.tasks.base import AnyTask
from xfm.tasks.captioning import CaptioningTask
from xfm.tasks.images import TaskImages
from xfm.tasks.ranking import rank
from xfm.tasks.retrieval import RetrievalTask, owners
from xfm.tasks.rows import ImageCaptions, Labelled, SplitRows
from xfm.tasks.vqa import VqaTask
from xfm.training.checkpoint import list_checkpoints
from xfm.training.distributed import pick_device
from xfm.training.pretrain import MODEL_FOLDER

BATCH = 64
RUN = "run"
"""Folder of a fine-tuning or of an evaluation on frozen features, inside the benchmark's."""
SUFFIXES = {Rule.MATCHING: "", Rule.CONTRAST: "_contrast", Rule.RERANK: "_rerank"}
"""Ends of metrics, by the score that orders candidates."""


@dataclass
class JobResult:
    """Scores by `SPLIT/METRIC`, files for the server, and details for `details.json`."""

    scores: dict[str, Score] = field(default_factory=dict)
    submissions: list[Path] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def add(
        self, split: str, rows: int, seed: int, metrics: Metrics, chance: Metrics, floors: Metrics
    ) -> None:
        """Record the metrics of a split."""
        for name, value in metrics.items():
            self.scores[f"{split}/{name}"] = Score(value, chance.get(name), floors.get(name), rows, seed)


@dataclass(frozen=True)
class JobSetting:
    """Model (folder or published file), data folder, output folder and recipe of an evaluation. `left_out`
    collects rows with unreadable pictures, except those of the training split."""

    model: str
    data: Path
    folder: Path
    recipe: BenchmarkRecipe
    smoke: bool = False
    device: str = "auto"
    progress: bool = True
    left_out: SkippedRecords = field(default_factory=SkippedRecords)


def evaluate_zero_shot_retrieval(
    benchmark: Benchmark, corpus: Corpus[ImageCaptions], setting: JobSetting
) -> JobResult:
    """Recalls of the model without training, at its own picture size and the recipe's text length."""
    encoder, pictures = zero_shot_encoder(setting)
    longest = setting.recipe.settings.max_tokens or CAPTION_TOKENS
    return _score_retrieval(encoder, pictures, corpus, setting, JobResult(), longest)


def zero_shot_encoder(setting: JobSetting) -> tuple[Encoder, TaskImages]:
    """The model as it is, and pictures as it sees them."""
    pretrained, device = load(setting.model), torch.device(pick_device(setting.device))
    model, how = pretrained.model.to(device).eval(), setting.recipe.settings.precision
    encoder = Encoder(model, pretrained.tokenizer, how, device, BATCH, setting.progress)
    return encoder, TaskImages(pretrained.preprocessing)


def _score_retrieval(
    encoder: Encoder,
    pictures: TaskImages,
    corpus: Corpus[ImageCaptions],
    setting: JobSetting,
    found: JobResult,
    longest: int,
) -> JobResult:
    setting.folder.mkdir(parents=True, exist_ok=True)
    rows = readable(RetrievalTask, corpus.scored["test"], "test", pictures, setting.left_out)
    pixels = pictures.batches([row.image for row in rows], encoder.batch_size)
    images = encode_images(encoder, pixels, len(rows), setting.folder)
    captions = [caption for row in rows for caption in row.captions]
    texts = encode_texts(encoder, captions, longest, setting.folder)
    positives = own_captions(owners(rows), len(rows))
    shortlist = setting.recipe.shortlist or max(len(rows), len(captions))
    text, image = rank(encoder, images, texts, positives, shortlist)
    by_rule, chances = recalls(text.ranks, image.ranks), chance_recalls(positives)
    keys = [(name, rule) for name in chances for rule in SUFFIXES]
    metrics = {f"{name}{SUFFIXES[rule]}": by_rule[f"{name}{rule}"] for name, rule in keys}
    chance = {f"{name}{SUFFIXES[rule]}": chances[name] for name, rule in keys}
    found.add("test", len(rows), setting.recipe.settings.seed, metrics, chance, {})
    found.details |= {"captions": len(captions), "shortlist": shortlist}
    return found


def evaluate_fine_tuned(benchmark: Benchmark, corpus: Corpus[Any], setting: JobSetting) -> JobResult:
    """Fine-tune (or continue), score every split, and write the files for the server."""
    answers = {normalise_caption(answer): answer for answer in reversed(corpus.answers)}
    task = fine_tuned_task(benchmark.kind, corpus, tuple(answer for answer in answers if answer), setting)
    found = JobResult(details={"model": str(setting.folder / RUN / MODEL_FOLDER)})
    if isinstance(task, CaptioningTask):
        task.writing = setting.recipe.writing
    if isinstance(task, VqaTask):
        task.shortlist = setting.recipe.shortlist
    if words := setting.recipe.test_words:
        longest = task.module.model.config.language.longest
        task.settings = replace(task.settings, max_words=words, max_tokens=longest)
    if benchmark.score is None:
        assert isinstance(task, RetrievalTask), "only retrieval ranks"
        told, device = task.settings, torch.device(task.settings.device)
        model, shown = task.module.model, setting.progress
        encoder = Encoder(model, task.tokenizer, told.precision, device, BATCH, shown)
        return _score_retrieval(encoder, task.pictures, corpus, setting, found, told.max_tokens)

    def predicted(rows: Sequence[Any]) -> list[Any]:
        return [answers.get(one, one) if isinstance(one, str) else one for one in task.predict(rows)]

    def submit(split: str, rows: Sequence[Any], predictions: Sequence[Any]) -> None:
        if benchmark.submit:
            path = setting.folder / benchmark.submission.format(split)
            with naming(path):
                content = benchmark.submit(rows, predictions)
            write_output(path, content)
            found.submissions.append(path)

    seed, of_guesses = task.settings.seed, benchmark.score_guesses or benchmark.score
    parts: list[tuple[Metrics, Metrics, Metrics]] = []
    task.pictures.lost = SkippedRecords(setting.left_out.limit)  # of the server's rows: blank, counted below
    for split, rows in corpus.scored.items():
        scored = readable(type(task), rows, split, task.pictures, setting.left_out)
        predictions = predicted(scored)
        metrics, chance = benchmark.score(scored, predictions), task.chance(scored, seed, of_guesses)
        constant = task.constant_scores(scored, of_guesses)
        floors = {name: max(own.values()) for name in metrics if (own := floors_of(name, constant))}
        parts.append((metrics, chance, floors))
        found.add(split, len(scored), seed, *parts[-1])
        if benchmark.submits_all:
            submit(split, rows, predictions if len(scored) == len(rows) else predicted(rows))
    for split, rows in corpus.hidden.items():
        if benchmark.submit:  # the server wants every row: unreadable pictures are answered as blank ones
            readable(type(task), rows, split, task.pictures, setting.left_out)
            submit(split, rows, predicted(rows))
    if benchmark.averaged:
        total = sum(found.scores[f"{split}/accuracy"].n for split in corpus.scored)
        found.add("mean", total, seed, *map(mean_scores, zip(*parts, strict=True)))
    return found


def fine_tuned_task(kind: str, corpus: Corpus[Any], answers: tuple[str, ...], setting: JobSetting) -> AnyTask:
    """The task with its fine-tuned model, trained here or before. Normalised `answers` are those that
    questions are ranked on; empty takes the most frequent training answers."""
    run, recipe = setting.folder / RUN, setting.recipe
    valid = corpus.valid[: recipe.valid_rows or None]
    data = SplitRows(corpus.train, valid, labels=corpus.classes, answers=answers)
    config = replace(recipe.planned(task_spec(kind).task_class().epoch(corpus.train)), device=setting.device)
    if setting.left_out.max_bad is not None:
        config = replace(config, max_bad=setting.left_out.max_bad)
    if (run / METRICS).is_file():
        base = load(run / MODEL_FOLDER)
        config = replace(config, device=str(pick_device(setting.device)))
        kind_of = task_spec(kind).task_class(config.regression)
        return restored(kind_of, base, TaskImages(base.preprocessing), data.train, task_settings(config))
    how = {"resume": run.is_dir() and bool(list_checkpoints(run)), "progress": setting.progress}
    return finetune_rows(kind, setting.model, data, config, run, **how, lazily=True).task


def start_after_domain(benchmark: Benchmark, edition: Edition, setting: JobSetting) -> tuple[JobSetting, str]:
    """The setting with the model of the domain pre-training before an edition's fine-tuning, which is done
    where its rows are; and what is said of it, if there is one."""
    stage, folder = f"{benchmark.name}-domain", setting.folder / "domain"
    if stage not in benchmark_recipes(edition):
        return setting, ""
    table = setting.data / "domain" / f"{benchmark.name}.jsonl"
    if not table.is_file():
        return setting, f"{stage}, which X-FM's code trains before, is left out: {table} is missing"
    rows = task_spec(benchmark.kind).task_class().read(table, setting.left_out.note)
    recipe = load_benchmark(stage, edition=edition)
    before = replace(setting, folder=folder, recipe=recipe.small() if setting.smoke else recipe)
    fine_tuned_task(benchmark.kind, Corpus(rows, {}), (), before)
    setting = replace(setting, model=str(folder / RUN / MODEL_FOLDER))
    return setting, f"{stage}, on {amount(len(rows), 'row')} of {table}, came before"


def evaluate_on_features(
    benchmark: Benchmark, corpus: Corpus[Labelled], setting: JobSetting, by_prompts: bool = False
) -> JobResult:
    """Linear probe and nearest neighbours on frozen features, or zero-shot classification by prompts. As in
    CLIP, validation rows choose the penalty, and the last fit includes them."""
    ((split, test),) = corpus.scored.items()
    seed, methods, rows = setting.recipe.settings.seed, [Method.LINEAR, Method.KNN], corpus.train
    if setting.smoke:  # its few rows may share no class with those of the others
        rows = [*rows, *corpus.validation, *test]
    data = LabelledSplits(test, rows, corpus.validation or None)
    if by_prompts:
        seed, methods = 0, [Method.ZERO_SHOT]
        data = LabelledSplits(test, names=benchmark.names(setting.data) or {})
    config = FrozenConfig(
        methods=methods,
        templates=benchmark.templates,
        seed=seed,
        neighbours=min(20, len(data.train) or 20),
        # Pixels as the model has them; of ImageNet the centre is cropped, as everybody does.
        framing=Framing.CENTRE if benchmark.name == IMAGENET else None,
        device=setting.device,
    )
    model, run, left_out = Path(setting.model), setting.folder / RUN, setting.left_out
    scores, probe = evaluate_frozen(model, data, run, config, setting.progress, left_out)
    found = JobResult()
    for key, score in scores.items():
        metric = key.rsplit("/", 1)[1].removeprefix("linear_").removeprefix("zero_shot_")
        found.scores[f"{split}/{metric}"] = score
    if probe:
        found.details["C"] = probe.chosen
    return found
