"""Reading a model folder, or single files of one; `xfm.models.model_files` has their names."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from xfm.config.artifacts import MANIFEST
from xfm.config.labels import MatchCalibration
from xfm.config.model import ModelConfig
from xfm.config.task import TaskConfig
from xfm.config.tasks import task_spec
from xfm.config.typed import from_plain
from xfm.core.errors import UserError, excerpt, explained
from xfm.core.files import read_json_object
from xfm.data.tokenizer import Tokenizer
from xfm.models import model_files
from xfm.models.artifacts import FRESH, Artifacts, Preprocessing, check_vocabulary
from xfm.models.composition import Backbone
from xfm.models.interop.packages import packaged_state
from xfm.models.resolve import model_folder
from xfm.models.self_check import SELF_CHECK, read_check, verify
from xfm.models.task_models import TaskModel, build_task_model
from xfm.models.weights import SkipInitMode, read_tensors, require_finite, require_same, without_weights

_READ_LATER = {
    "init": dict,
    "position": dict,
    "settings": dict,
    "began_with": dict,
    FRESH: list,
    "initialised": list,
}
"""Fields of the provenance that are more than shown, and their kinds; others may be anything."""
B = TypeVar("B", bound=Backbone)


def read_calibration(folder: Path) -> MatchCalibration | None:
    """Calibration of the matching head; None where none was fitted."""
    path = folder / model_files.CALIBRATION
    return from_plain(MatchCalibration, read_json_object(path), path) if path.exists() else None


def read_whole(folder: Path, build: Callable[[ModelConfig], B], check: bool = True) -> tuple[B, Artifacts]:
    """A folder that holds a whole model, read as by `xfm.models.adapters.read_model`."""
    config, preprocessing = read_config(folder)
    if (folder / MANIFEST).is_file():
        raise UserError(
            f"{folder} holds an exported model, which is run by pipelines, `xfm predict` and `xfm serve`; "
            "for anything else take the model folder that it was made from"
        )
    artifacts = read_artifacts(folder, config, preprocessing)
    with torch.device("meta"), SkipInitMode():
        shapes = build(config)
        described = _described_task(folder, shapes)
    given = packaged_state(folder, shapes)
    own = {name: one for name, one in shapes.state_dict().items() if name not in given}
    require_same(folder / model_files.WEIGHTS, own, model_files.CONFIG)
    if described is not None:
        require_same(folder / model_files.TASK_WEIGHTS, described.added_state(), model_files.TASK)
    with without_weights():
        model = build(config)
    artifacts = replace(artifacts, task=read_task(folder, model))
    _assign(model, model.state_dict(), folder / model_files.WEIGHTS, given)
    if check:
        verify(folder, model.eval(), artifacts)
    return model.eval(), artifacts


def read_artifacts(folder: Path, config: ModelConfig, preprocessing: Preprocessing) -> Artifacts:
    """The artifacts of a model folder without its task."""
    provenance = read_provenance(folder)
    absent = provenance.get("tokenizer", "") is None and not (folder / model_files.TOKENIZER).exists()
    tokenizer = None if absent else Tokenizer.load(folder / model_files.TOKENIZER, config.language.written)
    check_vocabulary(tokenizer, config.language, folder / model_files.TOKENIZER)
    calibration, check = read_calibration(folder), read_check(folder / SELF_CHECK)
    return Artifacts(tokenizer, preprocessing, provenance, None, calibration, check)


def read_config(folder: Path | str, image_size: int | None = None) -> tuple[ModelConfig, Preprocessing]:
    """Configuration and preprocessing of a model folder, or of square images of `image_size`; a UserError
    where a file is missing or the size does not fit."""
    folder = model_folder(folder)
    if folder.is_file():
        raise UserError(
            f"{folder} is a file, not a model folder; a published checkpoint is read by `xfm convert`, or in "
            "Python by xfm.load"
        )
    values = model_files.own_fields(
        read_json_object(folder / model_files.CONFIG), folder / model_files.CONFIG
    )
    config = from_plain(ModelConfig, values, folder / model_files.CONFIG)
    vision = config.vision
    older = folder / model_files.OLDER_PREPROCESSING
    path = older if older.exists() else folder / model_files.PREPROCESSING
    preprocessing = model_files.own_preprocessing(read_json_object(path), path)
    for name in ("image_size", "image_width"):
        ours, theirs = getattr(preprocessing, name), getattr(vision, name)
        if ours != theirs:
            raise UserError(
                f"{path}: {name} is {ours}, but {model_files.CONFIG} says {theirs}; use the files of one save"
            )
    if image_size is None:
        return config, preprocessing
    failing = f"{folder} cannot take pictures of {image_size} pixels"
    with explained(failing, "choose another size", ValueError):
        vision = replace(vision, image_size=image_size, image_width=None)
    return replace(config, vision=vision), replace(preprocessing, image_size=image_size, image_width=None)


def read_provenance(folder: Path | str) -> dict[str, Any]:
    """Provenance of a model; a UserError where it is missing, damaged, or a field is of another kind."""
    path = model_folder(folder) / model_files.PROVENANCE
    found = read_json_object(path)
    for name, kind in _READ_LATER.items():
        if not isinstance(found.get(name), kind | None):
            raise UserError(f"{path}: {name} cannot be {excerpt(repr(found[name]))}; copy it again")
    if not isinstance((found.get("position") or {}).get("minutes"), int | float | None):
        raise UserError(f"{path}: position.minutes must be a number; copy it again")
    return found


def read_task(folder: Path, model: Backbone) -> TaskModel | None:
    """A folder's task model on the model, with its own tensors; None before fine-tuning."""
    with without_weights():
        task = _described_task(folder, model)
    if task is None:
        return None
    require_same(folder / model_files.TASK_WEIGHTS, task.added_state(), model_files.TASK)
    _assign(task, task.added_state(), folder / model_files.TASK_WEIGHTS)
    return task.eval()


def _described_task(folder: Path, model: Backbone) -> TaskModel | None:
    if not (folder / model_files.TASK).exists():
        return None
    values = read_json_object(folder / model_files.TASK)
    try:
        if not task_spec(str(values.get("kind"))).tunable:
            raise UserError(f"no model is fine-tuned for {values['kind']}")
    except UserError as error:
        raise UserError(
            f"{folder / model_files.TASK}: {error}; install the package that adds the task, or call its "
            "xfm.register_task first"
        ) from error
    return build_task_model(from_plain(TaskConfig, values, folder / model_files.TASK), model)


def _assign(
    module: nn.Module, own: dict[str, Tensor], path: Path, given: Mapping[str, Tensor] = MappingProxyType({})
) -> None:
    stored = read_tensors(path)
    require_finite(path, stored)
    for name, tensor in stored.items():
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise UserError(f"{path}: {name} is of type {tensor.dtype}, not {own[name].dtype}; copy it again")
        stored[name] = tensor.to(own[name].dtype)
    module.load_state_dict({**module.state_dict(), **given, **stored}, assign=True)
