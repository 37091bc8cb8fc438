"""Evaluation of a model's frozen picture features on labelled pictures."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.config.plain import to_plain
from xfm.config.probing import FrozenConfig, Method
from xfm.config.tasks import IMAGE_CLASSIFICATION
from xfm.core.errors import UserError, excerpt
from xfm.core.locks import holds
from xfm.core.results_folder import ResultOrigin, digest, model_digest, require_free, sign
from xfm.data.skipped import SkippedRecords
from xfm.evaluation.probing.linear_probe import LinearProbe, fit_probe
from xfm.evaluation.probing.prompt_templates import load_templates, prompt
from xfm.finetuning.frozen_features import (
    LabelledFeatures,
    blocks,
    concatenated,
    frozen_image_features,
    nearest_neighbours,
)
from xfm.metrics.classification import (
    FEWEST_FOR_TOP,
    TOP,
    Array,
    chance_of_classes,
    in_top_k,
    majority_accuracy,
    mean_class_accuracy,
    most_frequent,
)
from xfm.metrics.intervals import bootstrap
from xfm.models.adapters import require_whole
from xfm.models.features import Encoder, text_features, tokenize_captions
from xfm.models.folder import load_model
from xfm.models.model_files import WEIGHTS
from xfm.models.resolve import model_folder
from xfm.reports.scores import METRICS, PartResult, Score, write_json, write_scores
from xfm.tasks.rows import Labelled
from xfm.training.cpu_runtime import prepare_process
from xfm.training.distributed import pick_device


@torch.inference_mode()
def class_vectors(encoder: Encoder, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """[C, E] float32 on the CPU: the mean of the unit vectors of each class's prompts, scaled to length 1."""
    said = [name.replace("_", " ") for name in names]
    texts = [prompt(template, name) for name in said for template in templates]
    chunks = encoder.chunks(len(texts), encoder.batch_size, "prompts")
    first = text_features(encoder, (tokenize_captions(encoder.tokenizer, texts[part]) for part in chunks))
    with encoder.heads():
        vectors = encoder.model.project_text(torch.from_numpy(first).to(encoder.device))  # [C T, E]
    return F.normalize(vectors.unflatten(0, (-1, len(templates))).mean(1), dim=-1).cpu()


DETAILS = "probe.json"


@dataclass(frozen=True)
class LabelledSplits:
    """Rows of a data set; without validation rows, a share of the training rows chooses the penalty. `names`
    are the labels' names in prompts, all of them candidates, whether a picture has them or not."""

    test: Sequence[Labelled]
    train: Sequence[Labelled] = ()
    validation: Sequence[Labelled] | None = None
    names: Mapping[str, str] = field(default_factory=dict[str, str])


@holds("out")
def evaluate_frozen(
    model: Path,
    data: LabelledSplits,
    out: Path,
    config: FrozenConfig,
    progress: bool = True,
    left_out: SkippedRecords | None = None,
) -> tuple[dict[str, Score], LinearProbe | None]:
    """Evaluate frozen features, and write `metrics.json` and `probe.json` into `out`: the scores by
    `image-classification/test/METHOD_METRIC`, and the linear probe."""
    prepare_process()
    _check_rows(data, config)
    templates = load_templates(config.templates) if Method.ZERO_SHOT in config.methods else []
    folder = model_folder(model)
    maker = frozen_maker(folder, data.train, data.validation, data.test)
    require_free(out, maker)
    pretrained = load_model(folder)
    device = pick_device(config.device)
    vision = pretrained.model.vision.to(device).eval()
    preprocessing = pretrained.preprocessing.seen_as(config.framing, config.colours)
    left_out = left_out or SkippedRecords()
    encode = partial(
        frozen_image_features, vision, preprocessing, config, device, left_out=left_out, progress=progress
    )
    signature = sign(out, maker)
    began = time.perf_counter()
    nothing = LabelledFeatures(np.empty((0, 0), dtype=np.float32), np.empty(0))
    train = encode(data.train, "training") if data.train else nothing
    test = encode(data.test, "test")
    validation = None if data.validation is None else encode(data.validation, "validation")
    left_out.write(out)
    seconds, scored, probe = {"features": time.perf_counter() - began}, dict[str, Score](), None
    details: dict[str, Any] = {"config": to_plain(config), "seconds": seconds, "made_by": signature}
    details["left_out"] = left_out.plain()
    for method in dict.fromkeys(config.methods):
        began = time.perf_counter()
        seen: Array | None = train.labels
        if method is Method.LINEAR:
            share, seed = config.validation_share, config.seed
            probe = fit_probe(train, validation, config.regression, share=share, seed=seed, progress=progress)
            trials = [{"C": 10.0**one, "validation_accuracy": score} for one, score in probe.trials.items()]
            details["linear"] = {"C": probe.chosen, "converged": probe.classifier.converged, "trials": trials}
            scores, classes = probe.classifier.logits(test.features).numpy(), probe.classes
        elif method is Method.KNN:
            known = train if validation is None else concatenated(train, validation)  # nothing is chosen
            classes = np.unique(known.labels)
            nearest = nearest_neighbours(known, test, config.neighbours)
            scores = (nearest[:, None] == classes).astype(np.float32)
        else:
            tokenizer, network = pretrained.tokenizer, pretrained.model.to(device).eval()
            encoder = Encoder(network, tokenizer, config.precision, device, config.batch_size, progress)
            scores, classes = _zero_shot(test, data.names, encoder, templates)
            seen = None
        seconds[method.value] = time.perf_counter() - began
        scored |= _class_scores(method, scores, classes, test.labels, config.seed, seen)
        write_scores(out / METRICS, scored)
        write_json(out / DETAILS, details)
    return scored, probe


def frozen_maker(folder: Path, *splits: Sequence[Labelled] | None) -> ResultOrigin:
    """Signature of an evaluation of frozen features of a model folder, and of its rows if they are known."""
    if not (require_whole(folder) / WEIGHTS).is_file():
        raise UserError(f"{folder} is not a model folder: {WEIGHTS} is missing; give one that was trained")
    data = {"data": digest(splits)} if splits else {}
    return ResultOrigin("evaluate", {"model": model_digest(folder / WEIGHTS), **data}, str(folder))


def _check_rows(data: LabelledSplits, config: FrozenConfig) -> None:
    fits = {*config.methods} != {Method.ZERO_SHOT}
    if not data.test or (fits and not data.train):
        raise UserError("the training or the test rows are empty; check their files")
    known = {row.label for row in data.train}
    for row in (*(data.validation or ()), *data.test) if fits else ():
        if row.label not in known:
            raise UserError(
                f"{row.shown}: no training row has the label {excerpt(str(row.label))!r}; add one, or "
                "leave it out"
            )


@torch.inference_mode()
def _zero_shot(
    test: LabelledFeatures, names: Mapping[str, str], encoder: Encoder, templates: Sequence[str]
) -> tuple[Array, Array]:
    """[N, C] float32 cosines of pictures and classes over the temperature, and the label of each column."""
    classes = np.unique([*test.labels.tolist(), *names])
    called = [names.get(str(label), str(label)) for label in classes.tolist()]
    vectors, found = class_vectors(encoder, called, templates), []
    for rows in blocks(len(test.features)):
        block = torch.from_numpy(np.array(test.features[rows], dtype=np.float32))
        with encoder.heads():
            pictures = encoder.model.project_image(block.to(encoder.device)).cpu()
        found.append(pictures @ vectors.T / encoder.model.temperature.item())
    return torch.cat(found).numpy(), classes


def _class_scores(
    method: Method, scores: Array, classes: Array, labels: Array, seed: int, seen: Array | None
) -> dict[str, Score]:
    places = {label: place for place, label in enumerate(classes.tolist())}
    targets = np.array([places.get(label, -1) for label in labels.tolist()])
    predicted = classes[scores.argmax(axis=1)]
    result, alone, chance = PartResult(), np.arange(len(labels)), chance_of_classes(len(classes))
    place = f"{IMAGE_CLASSIFICATION.name}/test/{method.replace('-', '_')}"
    guess = "most frequent classes"
    right = 1.0 * (predicted == labels)
    floors = {guess: majority_accuracy(labels, seen)}
    result.add_rows(f"{place}_accuracy", right, alone, chance["accuracy"], seed, floors)
    usual = most_frequent(labels if seen is None else seen)
    floors = {guess: mean_class_accuracy(usual.repeat(len(labels)), labels)}
    found = bootstrap(lambda rows: mean_class_accuracy(predicted[rows], labels[rows]), alone, seed)
    result.add(f"{place}_mean_per_class", found, chance["mean_per_class"], len(labels), seed, floors)
    if method is not Method.KNN and len(classes) >= FEWEST_FOR_TOP:  # neighbours order no classes
        floors = {guess: majority_accuracy(labels, seen, TOP)}
        hits = in_top_k(scores, targets, TOP).astype(np.float64)
        result.add_rows(f"{place}_top5", hits, alone, chance["top5"], seed, floors)
    return result.scores
