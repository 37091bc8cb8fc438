"""Evaluation on frozen features: a linear probe, nearest neighbours, and prompts."""

from collections.abc import Mapping
from pathlib import Path

from xfm.config.frozen import FrozenConfig, Method
from xfm.config.image import Framing
from xfm.evaluation.benchmarks.benchmark import RUN, Benchmark, JobResult, JobSetting
from xfm.evaluation.benchmarks.read.corpus import Corpus
from xfm.evaluation.benchmarks.registry import IMAGENET
from xfm.evaluation.probing.scoring import LabelledSplits, evaluate_frozen
from xfm.tasks.rows import Labelled


def evaluate_on_features(benchmark: Benchmark, corpus: Corpus[Labelled], setting: JobSetting) -> JobResult:
    """Linear probe and nearest neighbours on frozen features.

    As in CLIP, validation rows choose the penalty, and the last fit includes them.
    """
    ((split, test),) = corpus.scored.items()
    rows = corpus.train
    if setting.smoke:  # its few rows may share no class with those of the others
        rows = [*rows, *corpus.validation, *test]
    splits = LabelledSplits(test, rows, corpus.validation or None)
    return _evaluated(benchmark, split, splits, setting, {Method.LINEAR: "", Method.KNN: "knn_"})


def evaluate_by_prompts(benchmark: Benchmark, corpus: Corpus[Labelled], setting: JobSetting) -> JobResult:
    """Zero-shot classification by prompts."""
    ((split, test),) = corpus.scored.items()
    splits = LabelledSplits(test, names=benchmark.names(setting.data) or {})
    return _evaluated(benchmark, split, splits, setting, {Method.ZERO_SHOT: ""})


def _evaluated(
    benchmark: Benchmark,
    split: str,
    data: LabelledSplits,
    setting: JobSetting,
    methods: Mapping[Method, str],
) -> JobResult:
    config = FrozenConfig(
        methods=[*methods],
        templates=benchmark.templates,
        seed=0 if Method.ZERO_SHOT in methods else setting.recipe.settings.seed,
        neighbours=min(20, len(data.train) or 20),
        # Pixels as the model has them; of ImageNet the centre is cropped, as everybody does.
        framing=Framing.CENTRE if benchmark.name == IMAGENET else None,
        device=setting.device,
    )
    model, run, left_out = Path(setting.model), setting.folder / RUN, setting.left_out
    result = evaluate_frozen(model, data, run, config, progress=setting.progress, left_out=left_out)
    found = JobResult(splits={split: {}}, chance={split: {}}, baseline={split: {}})
    for key, score in result.scores.items():
        name = key.rsplit("/", 1)[1]
        for method, prefix in methods.items():
            begins = f"{method.replace('-', '_')}_"
            if name.startswith(begins):
                metric = prefix + name.removeprefix(begins)
                found.splits[split][metric], found.rows[split] = score.value, score.n
                for floors, value in ((found.chance, score.chance), (found.baseline, score.baseline)):
                    if value is not None:
                        floors[split][metric] = value
    if result.probe:
        found.details["C"] = result.probe.chosen
    return found
