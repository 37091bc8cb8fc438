"""One evaluation of a model on a benchmark: fine-tuned, by a head on frozen features, or as it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xfm.config.benchmark import BenchmarkRecipe
from xfm.config.linear import Colours, FeatureConfig, Framing, LinearEvaluationConfig, Method
from xfm.config.task import TaskKind
from xfm.data.tokenizer import normalise_caption
from xfm.evaluation.features import Encoder
from xfm.evaluation.linear.run import LabelledSplits, evaluate_frozen
from xfm.evaluation.recalls import Rule, own_captions
from xfm.evaluation.scores import Score
from xfm.evaluation.streaming import stream_retrieval
from xfm.evaluation.zero_shot_run import evaluate_zero_shot as classify_by_prompts
from xfm.finetuning.base import load_base
from xfm.finetuning.run import AnyTask, finetune
from xfm.reproduce.benchmarks import IMAGENET, Benchmark
from xfm.reproduce.scoring import Metrics
from xfm.tasks.official.corpus import Corpus
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import Described, Labelled
from xfm.tasks.splits import SplitRows
from xfm.training.checkpoint import list_checkpoints
from xfm.training.distributed import pick_device

GUESSES = 5
"""Random guesses whose mean score is chance."""


@dataclass
class Found:
    """What an evaluation found.

    Attributes:
        splits: metrics by split.
        chance: what random guesses score, by split.
        rows: test cases by split.
        submissions: files for the benchmark's server.
        details: what else is worth knowing.
    """

    splits: dict[str, Metrics] = field(default_factory=dict)
    chance: dict[str, Metrics] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    submissions: list[Path] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def scores(self, prefix: str, seed: int) -> dict[str, Score]:
        """The metrics under `PREFIX/SPLIT/METRIC`."""
        return {
            f"{prefix}/{split}/{name}": Score(
                value, self.chance.get(split, {}).get(name, 0.0), None, self.rows.get(split, 0), seed
            )
            for split, metrics in self.splits.items()
            for name, value in metrics.items()
        }


@dataclass(frozen=True)
class Setting:
    """What every evaluation needs.

    Attributes:
        model: folder of the model, or a published file.
        folder: where the evaluation may write.
        recipe: settings; of the small version already, if that is wanted.
        smoke: the small version.
        device: auto takes the GPU where there is one.
        progress: show bars.
    """

    model: str
    folder: Path
    recipe: BenchmarkRecipe
    smoke: bool = False
    device: str = "auto"
    progress: bool = True


# ---------------------------------------------------------------- fine-tuned
def evaluate_fine_tuned(benchmark: Benchmark, corpus: Corpus[Any], setting: Setting) -> Found:
    """Fine-tune, score every split, and write the files for the server.

    A run that was interrupted goes on from its last checkpoint.

    Raises:
        UserError: see `xfm.finetuning.run.finetune`.
    """
    run, recipe = setting.folder / "run", setting.recipe
    retrieves = benchmark.kind is TaskKind.RETRIEVAL
    answers = {normalise_caption(answer): answer for answer in reversed(corpus.answers)}
    valid = corpus.scored[corpus.valid]
    data = SplitRows(
        corpus.train,
        valid[: recipe.valid_rows or None],
        # Retrieval is scored below, in bounded memory.
        others={} if retrieves else dict(corpus.scored),
        labels=corpus.classes,
        answers=tuple(answer for answer in answers if answer),
    )
    config = recipe.planned(training_rows(corpus.train))
    resume = bool(list_checkpoints(run)) if run.is_dir() else False
    done = finetune(
        benchmark.kind, setting.model, data, config, run, resume=resume, progress=setting.progress
    )
    found = Found(details={"model": str(done.model), "steps": done.tuned.step})
    if retrieves:
        return _retrieval(done.task, corpus, setting, found)

    def official(predictions: Sequence[Any]) -> list[Any]:
        return [answers.get(p, p) if isinstance(p, str) else p for p in predictions]

    for split, rows in corpus.scored.items():
        predictions = official(done.predictions[split])
        _score(found, split, benchmark, done.task, rows, predictions)
        if benchmark.submit and benchmark.submits_all:
            found.submissions.append(benchmark.submit(setting.folder, split, rows, predictions))
    for split, rows in corpus.hidden.items():
        if benchmark.submit:
            found.submissions.append(
                benchmark.submit(setting.folder, split, rows, official(done.task.predict(rows)))
            )
    chance = benchmark.summary(found.chance)
    for split, metrics in benchmark.summary(found.splits).items():
        found.rows[split] = sum(found.rows.values())
        found.splits[split] = metrics
        found.chance[split] = chance.get(split, {})
    return found


def training_rows(rows: Sequence[Any]) -> int:
    """How many rows an epoch has: every caption of a picture is one."""
    return sum(len(row.captions) if isinstance(row, Described) else 1 for row in rows)


def _score(
    found: Found,
    split: str,
    benchmark: Benchmark,
    task: AnyTask,
    rows: Sequence[Any],
    predictions: Sequence[Any],
) -> None:
    """Metrics of a split, and of random guesses beside them."""
    rng = np.random.default_rng(task.settings.seed)
    guesses = [task.guess(rows, rng) for _ in range(GUESSES)]
    score = benchmark.score_guesses or benchmark.score
    random = [score(rows, guess) for guess in guesses if guess is not None]
    found.splits[split], found.rows[split] = benchmark.score(rows, predictions), len(rows)
    names = random[0] if random else {}
    found.chance[split] = {name: float(np.mean([one[name] for one in random])) for name in names}


# ---------------------------------------------------------------- retrieval
def _retrieval(task: AnyTask, corpus: Corpus[Described], setting: Setting, found: Found) -> Found:
    """Recalls of a fine-tuned model on the test split."""
    model, settings = task.module.model, task.settings
    encoder = Encoder(
        model, task.tokenizer, settings.precision, torch.device(settings.device), 64, setting.progress
    )
    return score_retrieval(encoder, task.pictures, corpus, setting, found)


def evaluate_zero_shot_retrieval(benchmark: Benchmark, corpus: Corpus[Described], setting: Setting) -> Found:
    """Recalls of the model as it is, in pictures of its own size.

    Raises:
        UserError: the model cannot be read, or has no tokenizer.
    """
    pretrained = load_base(setting.model)
    device = torch.device(pick_device(setting.device))
    encoder = Encoder(
        pretrained.model.to(device).eval(),
        pretrained.tokenizer,
        setting.recipe.settings.precision,
        device,
        64,
        setting.progress,
    )
    return score_retrieval(encoder, Pictures(pretrained.preprocessing), corpus, setting, Found())


def score_retrieval(
    encoder: Encoder, pictures: Pictures, corpus: Corpus[Described], setting: Setting, found: Found
) -> Found:
    """R@1/5/10 both ways on the test split, in bounded memory.

    `text_r1` and the like re-rank the contrastive shortlist by the matching logit, as published; with
    `_contrast` the shortlist is not re-ranked, with `_rerank` by both scores (see
    `xfm.evaluation.retrieval`).
    """
    rows = corpus.scored["test"]
    captions = [caption for row in rows for caption in row.captions]
    owner = np.repeat(np.arange(len(rows)), [len(row.captions) for row in rows])
    setting.folder.mkdir(parents=True, exist_ok=True)
    result = stream_retrieval(
        encoder,
        _pixels(pictures, rows, encoder.batch_size),
        captions,
        own_captions(owner, len(rows)),
        shortlist=setting.recipe.shortlist,
        scratch=setting.folder,
    )
    suffixes = {Rule.MATCHING: "", Rule.CONTRAST: "_contrast", Rule.RERANK: "_rerank"}
    metrics = {
        f"{direction}_r{k}{suffix}": result.recalls[f"{direction}_r{k}{rule}"]
        for direction in ("text", "image")
        for k in (1, 5, 10)
        for rule, suffix in suffixes.items()
    }
    found.splits["test"], found.rows["test"] = metrics, len(rows)
    found.chance["test"] = {name: result.chances["_".join(name.split("_")[:2])] for name in metrics}
    found.details |= {"captions": len(captions), "shortlist": setting.recipe.shortlist}
    return found


def _pixels(pictures: Pictures, rows: Sequence[Described], size: int) -> Iterator[Tensor]:
    for first in range(0, len(rows), size):
        yield pictures.pixels([row.image for row in rows[first : first + size]])


# ---------------------------------------------------------------- frozen features
def evaluate_linear(benchmark: Benchmark, corpus: Corpus[Labelled], setting: Setting) -> Found:
    """A linear probe and nearest neighbours on frozen features; pixels are normalised as published.

    Raises:
        UserError: see `xfm.evaluation.linear.run.evaluate_frozen`.
    """
    (split,) = corpus.scored
    known = {row.label for row in corpus.train}
    test = [row for row in corpus.scored[split] if row.label in known]
    config = LinearEvaluationConfig(
        methods=[Method.LINEAR, Method.KNN],
        neighbours=min(20, len(corpus.train)),
        features=_features(benchmark, setting),
    )
    splits = LabelledSplits(corpus.train, test)
    result = evaluate_frozen(
        Path(setting.model), splits, setting.folder / "run", config, progress=setting.progress
    )
    found = _classified(split, result.scores, {"linear_": "", "knn_": "knn_"})
    found.details["C"] = result.probe.chosen if result.probe else None
    return found


def evaluate_zero_shot_pictures(benchmark: Benchmark, corpus: Corpus[Labelled], setting: Setting) -> Found:
    """Classes by prompts with their names, no training.

    Raises:
        UserError: the model or a picture cannot be read, or the model has no tokenizer.
    """
    (split,) = corpus.scored
    scores = classify_by_prompts(
        Path(setting.model),
        corpus.scored[split],
        "photo",
        setting.folder / "run",
        _features(benchmark, setting),
        progress=setting.progress,
    )
    return _classified(split, scores, {"zero_shot_": ""})


def _features(benchmark: Benchmark, setting: Setting) -> FeatureConfig:
    if benchmark.name == IMAGENET:
        return FeatureConfig(framing=Framing.CENTRE, colours=Colours.IMAGENET, device=setting.device)
    return FeatureConfig(colours=Colours.HALF, device=setting.device)


def _classified(split: str, scores: Mapping[str, Score], methods: Mapping[str, str]) -> Found:
    """Scores by `TASK/test/METHOD_METRIC` as metrics of the split, each method's names begun otherwise."""
    found = Found(splits={split: {}}, chance={split: {}})
    for key, score in scores.items():
        name = key.rsplit("/", 1)[1]
        for method, prefix in methods.items():
            if name.startswith(method):
                metric = prefix + name.removeprefix(method)
                found.splits[split][metric], found.chance[split][metric] = score.value, score.chance
                found.rows[split] = score.n
    return found
