"""Evaluation on frozen features: a linear probe, nearest neighbours, and prompts."""

from collections.abc import Mapping
from pathlib import Path

from xfm.config.linear import FeatureConfig, LinearEvaluationConfig, Method
from xfm.config.pixels import Framing
from xfm.frozen.scoring import LabelledSplits, evaluate_frozen
from xfm.frozen.zero_shot_scoring import evaluate_zero_shot as classify_by_prompts
from xfm.reports.scores import Score
from xfm.reproduce.benchmark import Benchmark
from xfm.reproduce.found import RUN, Found, Setting
from xfm.reproduce.image_benchmarks import IMAGENET
from xfm.reproduce.read.corpus import Corpus
from xfm.tasks.rows import Labelled


def evaluate_linear(benchmark: Benchmark, corpus: Corpus[Labelled], setting: Setting) -> Found:
    """A linear probe and nearest neighbours on frozen features.

    As CLIP does, the data set's own validation rows choose the penalty, and the last fit takes them, too.

    Raises:
        UserError: see `xfm.frozen.scoring.evaluate_frozen`.
    """
    ((split, test),) = corpus.scored.items()
    rows = corpus.train
    if setting.smoke:  # its few rows may share no class with those of the others
        rows = [*rows, *corpus.validation, *test]
    config = LinearEvaluationConfig(
        methods=[Method.LINEAR, Method.KNN],
        seed=setting.recipe.settings.seed,
        neighbours=min(20, len(rows)),
        features=_features(benchmark, setting),
    )
    splits = LabelledSplits(rows, test, corpus.validation or None)
    result = evaluate_frozen(
        Path(setting.model),
        splits,
        setting.folder / RUN,
        config,
        progress=setting.progress,
        left_out=setting.left_out,
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
        benchmark.templates,
        setting.folder / RUN,
        _features(benchmark, setting),
        benchmark.names(setting.data),
        progress=setting.progress,
        left_out=setting.left_out,
    )
    return _classified(split, scores, {"zero_shot_": ""})


def _features(benchmark: Benchmark, setting: Setting) -> FeatureConfig:
    """Pixels as the model has them; of ImageNet the centre is cropped, as everybody does."""
    framing = Framing.CENTRE if benchmark.name == IMAGENET else None
    return FeatureConfig(framing=framing, device=setting.device)


def _classified(split: str, scores: Mapping[str, Score], methods: Mapping[str, str]) -> Found:
    found = Found(splits={split: {}}, chance={split: {}}, baseline={split: {}})
    for key, score in scores.items():
        name = key.rsplit("/", 1)[1]
        for method, prefix in methods.items():
            if name.startswith(method):
                metric = prefix + name.removeprefix(method)
                found.splits[split][metric] = score.value
                for floors, value in ((found.chance, score.chance), (found.baseline, score.baseline)):
                    if value is not None:
                        floors[split][metric] = value
                found.rows[split] = score.n
    return found
