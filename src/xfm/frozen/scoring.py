"""Evaluation of a model's frozen picture features on labelled pictures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xfm.config.linear import LinearEvaluationConfig, Method
from xfm.config.plain import to_plain
from xfm.data.left_out import LeftOut
from xfm.errors import UserError, excerpt
from xfm.frozen.cache import Featuriser
from xfm.frozen.class_scores import class_scores
from xfm.frozen.deep import fit_head
from xfm.frozen.features import LabelledFeatures, concatenated
from xfm.frozen.linear_probe import LinearProbe, fit_probe
from xfm.frozen.neighbours import nearest_neighbours
from xfm.frozen.save import check_savable, save_probe
from xfm.frozen.usable import usable_features
from xfm.locks import holds
from xfm.metrics.classification import Array
from xfm.modeling.adapters import require_whole
from xfm.modeling.folder import Pretrained, load_model, require_seeing
from xfm.modeling.model_files import WEIGHTS
from xfm.modeling.named import model_folder
from xfm.reports.scores import Score, write_json, write_scores
from xfm.reports.stored import METRICS
from xfm.results_folder import Maker, digest, model_digest, require_free, sign
from xfm.tasks.rows import Labelled
from xfm.training.cpu_runtime import prepare_process
from xfm.training.distributed import pick_device

CACHE, DETAILS, MODEL = "features", "probe.json", "model"


@dataclass(frozen=True)
class LabelledSplits:
    """Rows of a data set.

    Attributes:
        train: rows that are fitted.
        test: rows that are scored.
        validation: rows that choose the penalty; None takes a share of the training rows.
    """

    train: Sequence[Labelled]
    test: Sequence[Labelled]
    validation: Sequence[Labelled] | None = None


@dataclass
class FrozenResult:
    """What an evaluation found.

    Attributes:
        scores: by key `image-classification/test/METHOD_METRIC`.
        details: what else is worth knowing: the penalties that were tried, seconds, the configuration.
        probe: the linear probe, if it was asked for.
    """

    scores: dict[str, Score] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    probe: LinearProbe | None = None


@holds("out")
def evaluate_frozen(
    model: Path,
    data: LabelledSplits,
    out: Path,
    config: LinearEvaluationConfig,
    cache: Path | None = None,
    progress: bool = True,
    save: bool = False,
    left_out: LeftOut | None = None,
) -> FrozenResult:
    """Evaluate frozen features, and write `metrics.json` and `probe.json`.

    Args:
        model: a folder written by `save_model`, or that of a finished run.
        data: labelled pictures.
        out: folder for the results.
        config: what to run.
        cache: folder of the cached features; `out/features` if not given. Evaluations share what they have in
            common.
        progress: show bars.
        save: write the linear probe as a model folder, `out/model`, which `xfm predict` takes.
        left_out: told of the rows whose picture cannot be read; they are written to `out/bad.jsonl`.

    Raises:
        UserError: the model or a picture cannot be read, a test row has a class that no training row has,
            `out` holds other results, or the disk is full.
    """
    prepare_process()
    _check_labels(data)
    if save:
        check_savable(config)
    folder = model_folder(model)
    maker = frozen_maker("probe", folder, data.train, data.validation, data.test)
    require_free(out, maker)
    require_seeing(folder, "a probe of pictures")
    pretrained = load_model(folder)
    featuriser = build_featuriser(
        pretrained, maker.subject["model"], config, both=Method.HEAD in config.methods
    )
    signature = sign(out, maker)
    cache = cache or out / CACHE
    began = time.perf_counter()
    left_out = left_out or LeftOut()
    features = _cached(data, featuriser, cache, progress, left_out)
    left_out.write(out)
    result = FrozenResult(details={"config": to_plain(config), "seconds": {}, "made_by": signature})
    result.details["left_out"] = left_out.plain()
    seconds: dict[str, float] = result.details["seconds"]
    seconds["features"] = time.perf_counter() - began
    for method in dict.fromkeys(config.methods):
        began = time.perf_counter()
        scores, classes = _METHODS[method](features, config, result, progress)
        seconds[method.value] = time.perf_counter() - began
        labels, order = features.test.labels, method is not Method.KNN
        result.scores |= class_scores(
            method.value, scores, classes, labels, config.seed, order, features.train.labels
        )
        write_scores(out / METRICS, result.scores)
        write_json(out / DETAILS, result.details)
    if save and result.probe is not None:
        save_probe(pretrained, featuriser, result.probe, out / MODEL)
    return result


def frozen_maker(command: str, folder: Path, *splits: Sequence[Labelled] | None) -> Maker:
    """A command on the frozen features of a model folder's pictures; it names the rows too if they are known.

    Raises:
        UserError: the folder has no weights.
    """
    if not (require_whole(folder) / WEIGHTS).is_file():
        raise UserError(f"{folder} is not a model folder: {WEIGHTS} is missing; give one that was trained")
    data = {"data": digest(splits)} if splits else {}
    return Maker(command, {"model": model_digest(folder / WEIGHTS), **data}, str(folder))


def build_featuriser(
    pretrained: Pretrained, weights: str, config: LinearEvaluationConfig, both: bool
) -> Featuriser:
    """The vision encoder on its device.

    Args:
        pretrained: the model.
        weights: digest of its weights.
        config: arithmetic and pixels.
        both: whether the mean of the patches is needed beside slot 0, where slot 0 is not that itself.
    """
    device = pick_device(config.features.device)
    vision = pretrained.model.vision.to(device).eval()
    preprocessing = pretrained.preprocessing.seen_as(config.features.framing, config.features.colours)
    both = both and not vision.config.slot0_is_mean
    return Featuriser(vision, weights, vision.config.width, both, preprocessing, config.features, device)


def _check_labels(data: LabelledSplits) -> None:
    if not data.train or not data.test:
        raise UserError("the training or the test rows are empty; check their files")
    known = {row.label for row in data.train}
    for row in (*(data.validation or ()), *data.test):
        if row.label not in known:
            raise UserError(
                f"{row.shown}: no training row has the label {excerpt(str(row.label))!r}; add one, or "
                "leave it out"
            )


Scored = tuple[Array, Array]
"""[N, C] scores of the test rows, and the label of each column."""


@dataclass(frozen=True)
class _Features:
    """Cached features of every split."""

    train: LabelledFeatures
    validation: LabelledFeatures | None
    test: LabelledFeatures
    featuriser: Featuriser
    cache: Path

    def slot0(self, split: LabelledFeatures) -> LabelledFeatures:
        return LabelledFeatures(split.features[:, : self.featuriser.width], split.labels)


def _cached(
    data: LabelledSplits, featuriser: Featuriser, cache: Path, progress: bool, left_out: LeftOut
) -> _Features:
    """Features of every split, computed where the cache does not have them; without unreadable pictures."""
    kept: dict[str, Sequence[Labelled]] = {}

    def split(name: str, rows: Sequence[Labelled]) -> LabelledFeatures:
        values, kept[name] = usable_features(featuriser, rows, cache, name, left_out, progress)
        return LabelledFeatures(values, np.array([row.label for row in kept[name]]))

    train, test = split("training", data.train), split("test", data.test)
    validation = None if data.validation is None else split("validation", data.validation)
    _check_labels(LabelledSplits(kept["training"], kept["test"], kept.get("validation")))
    return _Features(train, validation, test, featuriser, cache)


def _linear(
    features: _Features, config: LinearEvaluationConfig, result: FrozenResult, progress: bool
) -> Scored:
    validation = features.validation
    probe = fit_probe(
        features.slot0(features.train),
        None if validation is None else features.slot0(validation),
        config.regression,
        share=config.validation_share,
        seed=config.seed,
        scratch=features.cache,
        progress=progress,
    )
    result.probe = probe
    trials = [{"C": trial.value, "validation_accuracy": trial.score} for trial in probe.trials]
    result.details["linear"] = {"C": probe.chosen, "converged": probe.converged, "trials": trials}
    return probe.classifier.logits(features.slot0(features.test).features).numpy(), probe.classes


def _known(features: _Features) -> LabelledFeatures:
    """The rows that a method without a choice learns from: those of training and validation."""
    if features.validation is None:
        return features.train
    return concatenated(features.train, features.validation, features.cache)


def _head(
    features: _Features, config: LinearEvaluationConfig, result: FrozenResult, progress: bool
) -> Scored:
    """As published it takes its settings as they are, so that validation rows are trained on, too."""
    rows, featuriser = _known(features), features.featuriser
    device = str(featuriser.device)
    trained = fit_head(rows, featuriser.width, config.head, config.seed, device, progress=progress)
    return trained.logits(features.test.features).numpy(), trained.classes


def _knn(features: _Features, config: LinearEvaluationConfig, result: FrozenResult, progress: bool) -> Scored:
    """Nothing is chosen, so that validation rows are neighbours, too."""
    train, test = features.slot0(_known(features)), features.slot0(features.test)
    classes = np.unique(train.labels)
    found = nearest_neighbours(train, test, config.neighbours)
    return (found[:, None] == classes).astype(np.float32), classes


_METHODS = {Method.LINEAR: _linear, Method.HEAD: _head, Method.KNN: _knn}
