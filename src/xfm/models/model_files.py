"""The files of a model: weights (safetensors), configuration, tokenizer, preprocessing, provenance.

`self_check.json` holds one text and one picture with what the model makes of them, which every load compares.
`calibration.json`, where it is there, makes the matching head's odds a probability. A fine-tuned model's
folder also has `task.json`, what it is for, and `task.safetensors`, what the task adds.

These are their names; `xfm.models.model_writing` writes the files, `xfm.models.model_reading` reads them.

transformers' auto classes read the same folder, so that no second copy can fall behind. It takes:

- Tensors have the same names in both, with no prefix. The Trainer of transformers loads checkpoints by bare
  names and passes over those that it does not know: a translation of names would lose weights silently.
- `config.json` says `model_type`, by which transformers finds the classes, and the labels of a classifier
  that transformers has a class for. Settings of its own, in a folder that it wrote, are passed over here.
- `preprocessor_config.json` names the classes that prepare inputs and nothing else: sizes, mean and deviation
  stay in `preprocessing.json`, and tokens in `tokenizer.json`.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

from xfm.config.labels import LabelKind
from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.task import TaskConfig
from xfm.config.tasks import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION
from xfm.core.errors import UserError, excerpt
from xfm.models.self_check import SELF_CHECK

MODEL_TYPE = "xfm"
INPUT_CLASSES = "preprocessor_config.json"
CLASSES = {"image_processor_type": "XFMImageProcessor", "processor_class": "XFMProcessor"}
_FROM_TRANSFORMERS = "transformers_version"


LABEL_FIELDS = ("id2label", "label2id", "problem_type")
_LABELLED = (TEXT_CLASSIFICATION, IMAGE_CLASSIFICATION)
_KINDS = {
    LabelKind.ONE: "single_label_classification",
    LabelKind.SEVERAL: "multi_label_classification",
}


def plain_config(config: ModelConfig, task: TaskConfig | None = None) -> dict[str, Any]:
    """Content of `config.json`: configuration, kind of model, labels."""
    return {**to_plain(config), "model_type": MODEL_TYPE, **_labels(task)}


def _labels(task: TaskConfig | None) -> dict[str, Any]:
    if task is None or task.spec not in _LABELLED:
        return {}
    kind = "regression" if task.classes == 1 else _KINDS[task.label_kind]
    names = {str(place): name for place, name in enumerate(task.names)}
    back = {name: place for place, name in enumerate(task.names)}
    return dict(zip(LABEL_FIELDS, (names, back, kind), strict=True))


def own_fields(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields of `ModelConfig` in a `config.json`; unknown ones stay to be refused, unless transformers
    wrote the file. A UserError for another kind of model."""
    kind = values.get("model_type", MODEL_TYPE)
    if kind != MODEL_TYPE:
        raise UserError(
            f"{path} describes a model of the kind {excerpt(str(kind))}, not {MODEL_TYPE}; "
            "name another folder"
        )
    known = {f.name for f in fields(ModelConfig)}
    if _FROM_TRANSFORMERS in values:
        return {name: value for name, value in values.items() if name in known}
    return {name: value for name, value in values.items() if name not in ("model_type", *LABEL_FIELDS)}


WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
PREPROCESSING, PROVENANCE = "preprocessing.json", "provenance.json"
UNUSED = "unused.safetensors"
"""Caption heads of a published file, so that an export gives the file back whole."""
CALIBRATION = "calibration.json"
TASK, TASK_WEIGHTS = "task.json", "task.safetensors"
MODEL_FILES = (
    *(WEIGHTS, CONFIG, TOKENIZER, PREPROCESSING, PROVENANCE, INPUT_CLASSES, SELF_CHECK),
    *(UNUSED, CALIBRATION, TASK, TASK_WEIGHTS),
)
"""All that a whole model's folder may have."""
FRESH = "fresh"  # in the provenance: beginnings of the names of parameters that were never trained
