"""The files of a model folder, and their writing; `xfm.models.model_reading` reads them.

Weights (safetensors), configuration, tokenizer, preprocessing and provenance; `self_check.json` has outputs
for one text and one image, which every load compares, `calibration.json` the matching head's calibration,
`task.json` and `task.safetensors` a fine-tuned model's task. transformers' auto classes read the same folder:

- Tensors have the same names in both, without prefix: the Trainer of transformers passes over unknown names,
  so that a translation would lose weights silently.
- `config.json` says `model_type`, by which transformers finds the classes, and a classifier's labels.
  Settings of its own, in a folder that it wrote, are passed over here.
- `preprocessor_config.json` has the preprocessing, and names the classes that prepare inputs.

`README.md` is the model card, as the hub reads it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from xfm.config.labels import LabelKind, MatchCalibration
from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.tasks import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION
from xfm.config.typed import from_plain
from xfm.core.errors import FULL, UserError, excerpt, refused
from xfm.core.files import drafting, replace_folder, sync_folder, write_text
from xfm.core.paths import home_path
from xfm.data.tokenizer import Tokenizer
from xfm.models.artifacts import CARD, Artifacts, Preprocessing, model_card
from xfm.models.composition import Backbone
from xfm.models.self_check import SELF_CHECK, check_of
from xfm.models.task_models import TaskModel
from xfm.models.weights import write_tensors

MODEL_TYPE = "xfm"
_CLASSES = {"image_processor_type": "XFMImageProcessor", "processor_class": "XFMProcessor"}
_FROM_TRANSFORMERS = "transformers_version"


LABEL_FIELDS = ("id2label", "label2id", "problem_type")
_LABELLED = (TEXT_CLASSIFICATION, IMAGE_CLASSIFICATION)
_KINDS = {LabelKind.ONE: "single_label_classification", LabelKind.SEVERAL: "multi_label_classification"}


def own_fields(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields of `ModelConfig` in a `config.json`; unknown ones stay to be refused, unless transformers
    wrote the file. A UserError for another kind of model."""
    kind = values.get("model_type", MODEL_TYPE)
    if kind != MODEL_TYPE:
        raise UserError(
            f"{path} describes a model of the kind {excerpt(str(kind))}, not {MODEL_TYPE}; name another"
        )
    known = {f.name for f in fields(ModelConfig)}
    if _FROM_TRANSFORMERS in values:
        return {name: value for name, value in values.items() if name in known}
    return {name: value for name, value in values.items() if name not in ("model_type", *LABEL_FIELDS)}


def preprocessor_config(preprocessing: Preprocessing) -> dict[str, Any]:
    """Content of `preprocessor_config.json`."""
    return to_plain(preprocessing) | _CLASSES


def own_preprocessing(values: dict[str, Any], path: Path) -> Preprocessing:
    """The preprocessing in a `preprocessor_config.json`; a UserError for one of another kind of model."""
    return from_plain(Preprocessing, {k: v for k, v in values.items() if k not in _CLASSES}, path)


WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
PREPROCESSING, PROVENANCE = "preprocessor_config.json", "provenance.json"
OLDER_PREPROCESSING = "preprocessing.json"  # until 0.1 it had the numbers, and PREPROCESSING the classes
CALIBRATION, PACKAGES = "calibration.json", "packages.json"
TASK, TASK_WEIGHTS = "task.json", "task.safetensors"


def save_model(
    folder: Path | str,
    model: Backbone,
    tokenizer: Tokenizer | None,
    preprocessing: Preprocessing,
    provenance: dict[str, Any],
    task: TaskModel | None = None,
    calibration: MatchCalibration | None = None,
    half: bool = False,
) -> None:
    """Write a model folder, replacing one that exists.

    The old one stays whole until the new one is; a folder of something else is never replaced. Without
    `tokenizer`, texts cannot be encoded; `preprocessing` says how pictures are seen; `provenance` is written
    as JSON, what JSON cannot hold as text; the parts of a fine-tuned `task` take the place of the model's;
    `calibration` is of the matching head with these very weights; `half` stores float32 as float16, read into
    the model's own types (ValueError for a weight that is too large). UserError: a full disk, no rights.
    """
    with saving(folder) as part:
        state = model.state_dict() | (task.shared_state() if task else {})
        write_tensors(part / WEIGHTS, state, half)
        own = Artifacts(tokenizer, preprocessing, provenance, task, calibration)
        check = check_of(model.config, own, state, half)
        write_description(part, model.config, replace(own, check=check))


@contextmanager
def saving(folder: Path | str, mark: str = CONFIG, what: str = "a model") -> Iterator[Path]:
    """An empty folder that replaces an older model, known by its file `mark`, when the block is done; a
    UserError leaves the older one unharmed."""
    folder = home_path(folder)
    if not folder.exists():
        if os.path.islink(os.path.realpath(folder)):  # a link to nothing is followed, one to itself is not
            raise UserError(f"{folder} is a link to itself; remove it, or name another folder")
    elif not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; name another folder for the model")
    elif any(folder.iterdir()) and not (folder / mark).exists():
        raise UserError(f"{folder} holds something else than {what}; name another folder for it")
    target = folder.resolve()  # through a link, so that the link stays
    try:
        with drafting(target) as part:
            yield part
            sync_folder(part)
            replace_folder(part, target)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own
        number = refused(error)
        reason = "the disk is full" if number in FULL else getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{folder}: the model could not be saved ({reason}); make room there or name another folder, "
            "what was there before is unharmed"
        ) from error


def write_description(folder: Path, config: ModelConfig, artifacts: Artifacts) -> None:
    """Write every file of a model folder but the weights of the model itself."""
    labels: dict[str, Any] = {}
    if artifacts.task is not None and (task := artifacts.task.task).spec in _LABELLED:
        kind = "regression" if task.classes == 1 else _KINDS[task.label_kind]
        names = {str(place): name for place, name in enumerate(task.names)}
        back = {name: place for place, name in enumerate(task.names)}
        labels = dict(zip(LABEL_FIELDS, (names, back, kind), strict=True))
    _write_json(folder / CONFIG, {**to_plain(config), "model_type": MODEL_TYPE, **labels})
    tokenizer, provenance = artifacts.given_tokenizer, artifacts.provenance
    if tokenizer is not None:
        tokenizer.save(folder / TOKENIZER)
    _write_json(folder / PREPROCESSING, preprocessor_config(artifacts.preprocessing))
    # A tokenizer that was never there is told from one that was lost.
    _write_json(folder / PROVENANCE, provenance | ({} if tokenizer else {"tokenizer": None}))
    if artifacts.calibration is not None:
        _write_json(folder / CALIBRATION, to_plain(artifacts.calibration))
    if artifacts.check is not None:
        write_text(folder / SELF_CHECK, as_json(to_plain(artifacts.check), None))
    if artifacts.task is not None:
        write_tensors(folder / TASK_WEIGHTS, artifacts.task.added_state())
        _write_json(folder / TASK, to_plain(artifacts.task.task))
    write_text(folder / CARD, model_card(config, artifacts))


def write_calibration(folder: Path, calibration: MatchCalibration) -> None:
    """Write or replace the calibration in a model folder."""
    write_text(folder / CALIBRATION, as_json(to_plain(calibration)))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(as_json(value), encoding="utf-8")


def as_json(value: Any, indent: int | None = 2) -> str:
    """JSON text as in the files of a model folder."""
    return json.dumps(value, indent=indent, sort_keys=True, default=str) + "\n"
