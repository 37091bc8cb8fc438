"""The files of a model: weights (safetensors), configuration, tokenizer, preprocessing, provenance.

`self_check.json` holds one text and one picture with what the model makes of them, which every load compares.
`calibration.json`, where it is there, makes the matching head's odds a probability. A fine-tuned model's
folder also has `task.json`, what it is for, and `task.safetensors`, what the task adds.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from xfm.config.calibration import MatchCalibration
from xfm.config.exported import MANIFEST
from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.restore import from_plain
from xfm.config.self_check import SelfCheck
from xfm.config.task import TaskConfig
from xfm.config.tasks import task_spec
from xfm.data.tokenizer import Tokenizer
from xfm.errors import UserError, excerpt
from xfm.failures import FULL, refused
from xfm.files import drafting, read_json_object, replace_folder, sync_folder, write_text
from xfm.modeling.belongings import UNSEEN, Belongings, Preprocessing
from xfm.modeling.checking import check_of, read_check, verify_here
from xfm.modeling.composition import Backbone
from xfm.modeling.named import model_folder
from xfm.modeling.self_check import SELF_CHECK
from xfm.modeling.shared_format import CLASSES, INPUT_CLASSES, own_fields, plain_config
from xfm.modeling.task_models import TaskModel, build_task_model
from xfm.modeling.weights import (
    WithoutMemory,
    read_tensors,
    require_finite,
    require_same,
    without_weights,
    write_tensors,
)
from xfm.paths import home_path

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


def save_model(
    folder: Path | str,
    model: Backbone,
    tokenizer: Tokenizer | None,
    preprocessing: Preprocessing,
    provenance: dict[str, Any],
    task: TaskModel | None = None,
    unused: Mapping[str, Tensor] = MappingProxyType({}),
    calibration: MatchCalibration | None = None,
    half: bool = False,
) -> None:
    """Write a model folder, replacing one that exists; the old one stays whole until the new one is.

    Args:
        folder: the model folder; a folder of something else is never replaced.
        model, tokenizer, preprocessing: what belongs together; without a tokenizer, texts cannot be encoded.
        provenance: where the model comes from, as JSON can hold it; anything else is written as text.
        task: what the model was fine-tuned for; its parts take the place of the model's.
        unused: tensors of a published file that no model uses, by their names there.
        calibration: of the matching head, fitted to these very weights.
        half: store the model's weights as float16, in half the space; they are read into its own types.

    Raises:
        ValueError: `half`, and a weight is too large for float16.
        UserError: the disk is full, the place is not writable, or something else lies there. What was there
            before is unharmed.
    """
    with saving(folder) as part:
        state = model.state_dict() | (task.shared_state() if task else {})
        write_tensors(part / WEIGHTS, state, half)
        own = Belongings(tokenizer, preprocessing, provenance, task, calibration)
        write_description(part, model.config, own)
        write_self_check(part, check_of(model.config, own, state, half))
        if task is not None:
            write_task(part, task)
        if unused:
            write_tensors(part / UNUSED, {name: t.float().clone() for name, t in unused.items()})


@contextmanager
def saving(folder: Path | str) -> Iterator[Path]:
    """An empty folder for the files of a model, which takes the place of an older one when the block is done.

    Raises:
        UserError: the disk is full, the place is not writable, or something else lies there. What was there
            before is unharmed.
    """
    folder = home_path(folder)
    _refuse_foreign(folder)
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


def write_self_check(folder: Path, check: SelfCheck | None) -> None:
    """Write what the model made of a text and a picture, where that could be computed."""
    if check is not None:
        write_text(folder / SELF_CHECK, as_json(to_plain(check), None))


def write_task(folder: Path, task: TaskModel) -> None:
    """Write what a model was fine-tuned for, and what that adds."""
    write_tensors(folder / TASK_WEIGHTS, task.added_state())
    _write_json(folder / TASK, to_plain(task.task))


def write_description(folder: Path, config: ModelConfig, belongings: Belongings) -> None:
    """Write every file of a model folder but the weights and those of the task."""
    task = belongings.task
    _write_json(folder / CONFIG, plain_config(config, task.task if task else None))
    tokenizer, provenance = belongings.given_tokenizer, belongings.provenance
    if tokenizer is not None:
        tokenizer.save(folder / TOKENIZER)
    if config.sees:
        _write_json(folder / PREPROCESSING, to_plain(belongings.preprocessing))
    # A tokenizer that was never there is told from one that was lost.
    _write_json(folder / PROVENANCE, provenance | ({} if tokenizer else {"tokenizer": None}))
    if config.sees:
        _write_json(folder / INPUT_CLASSES, CLASSES)
    if belongings.calibration is not None:
        _write_json(folder / CALIBRATION, to_plain(belongings.calibration))


def write_calibration(folder: Path, calibration: MatchCalibration) -> None:
    """Give the model in a folder its calibration, in place of an older one.

    Raises:
        OSError: it cannot be written.
    """
    write_text(folder / CALIBRATION, as_json(to_plain(calibration)))


def read_calibration(folder: Path) -> MatchCalibration | None:
    """The calibration of the matching head; None of a model that nobody fitted it to.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / CALIBRATION
    return from_plain(MatchCalibration, read_json_object(path), path) if path.exists() else None


def read_whole(folder: Path, build: Callable[[ModelConfig], B], check: bool = True) -> tuple[B, Belongings]:
    """Read a model folder that holds the whole model; `xfm.modeling.adapters.read_model` reads adapters, too.

    Args:
        folder: a folder written by `save_model`.
        build: makes the model of a configuration.
        check: compare what it makes of a text and a picture with its self-check.

    Returns:
        The model in evaluation mode on the CPU, and what belongs to it.

    Raises:
        UserError: a file is missing, truncated or of another model, or the model is not what it was when it
            was saved.
    """
    config, preprocessing = read_config(folder)
    if (folder / MANIFEST).is_file():
        raise UserError(
            f"{folder} holds an exported model, which is run by pipelines, `xfm predict` and `xfm serve`; "
            "for anything else take the model folder that it was made from"
        )
    own = read_belongings(folder, config, preprocessing)
    model, task = _load_weights(folder, config, build)
    own = replace(own, task=task)
    if check:
        verify_here(folder, model.eval(), own)
    return model.eval(), own


def read_belongings(folder: Path, config: ModelConfig, preprocessing: Preprocessing) -> Belongings:
    """What belongs to the model of a folder, its task left out.

    Args:
        folder: the model folder.
        config, preprocessing: as `read_config` gives them.

    Raises:
        UserError: a file is missing, damaged or of another model.
    """
    provenance = read_provenance(folder)
    absent = provenance.get("tokenizer", "") is None and not (folder / TOKENIZER).exists()
    tokenizer = None if absent else Tokenizer.load(folder / TOKENIZER)
    check_vocabulary(tokenizer, config, folder / TOKENIZER)
    calibration, check = read_calibration(folder), read_check(folder / SELF_CHECK)
    return Belongings(tokenizer, preprocessing, provenance, None, calibration, check)


def read_config(folder: Path | str, image_size: int | None = None) -> tuple[ModelConfig, Preprocessing]:
    """Configuration and preprocessing of a model folder, for square pictures of another size if one is given.

    Raises:
        UserError: a file is missing or of another model, or the model cannot take pictures of that size.
    """
    folder = model_folder(folder)
    if folder.is_file():
        raise UserError(
            f"{folder} is a file, not a model folder; a published checkpoint is read by `xfm convert`, or in "
            "Python by xfm.load"
        )
    values = own_fields(read_json_object(folder / CONFIG), folder / CONFIG)
    config = from_plain(ModelConfig, values, folder / CONFIG)
    if not config.sees and image_size is None:
        return config, UNSEEN
    vision = config.seeing
    preprocessing = from_plain(
        Preprocessing, read_json_object(folder / PREPROCESSING), folder / PREPROCESSING
    )
    for name in ("image_size", "image_width"):
        ours, theirs = getattr(preprocessing, name), getattr(vision, name)
        if ours != theirs:
            raise UserError(
                f"{folder / PREPROCESSING}: {name} is {ours}, but {CONFIG} says {theirs}; "
                "use the files of one save"
            )
    if image_size is None:
        return config, preprocessing
    try:
        vision = replace(vision, image_size=image_size, image_width=None)
    except ValueError as error:
        raise UserError(f"{folder} cannot take pictures of {image_size} pixels: {error}") from error
    return replace(config, vision=vision), replace(preprocessing, image_size=image_size, image_width=None)


def read_provenance(folder: Path | str) -> dict[str, Any]:
    """Where a model comes from, as `save_model` was told.

    Raises:
        UserError: the file is missing or damaged, or a field that is read later is of another kind.
    """
    path = model_folder(folder) / PROVENANCE
    found = read_json_object(path)
    for name, kind in _READ_LATER.items():
        if not isinstance(found.get(name), kind | None):
            raise UserError(f"{path}: {name} cannot be {excerpt(repr(found[name]))}; copy it again")
    if not isinstance((found.get("position") or {}).get("minutes"), int | float | None):
        raise UserError(f"{path}: position.minutes must be a number; copy it again")
    return found


def check_vocabulary(tokenizer: Tokenizer | None, config: ModelConfig, path: Path) -> None:
    """Refuse a tokenizer that is not the model's.

    Raises:
        UserError: it knows more tokens than the model or pads with another; names the tokenizer's file.
    """
    if tokenizer is None:
        return
    for fits, wanted, what in (
        (tokenizer.vocab_size <= config.language.vocab_size, config.language.vocab_size, "tokens"),
        (tokenizer.pad == config.language.pad, config.language.pad, "as the padding token"),
    ):
        if not fits:
            raise UserError(
                f"{path} has {tokenizer.vocab_size} tokens and pads with {tokenizer.pad}, but the model has "
                f"{wanted} {what}; use the tokenizer that the model was trained with"
            )


def _load_weights(
    folder: Path, config: ModelConfig, build: Callable[[ModelConfig], B]
) -> tuple[B, TaskModel | None]:
    """Model and task model of a folder with its tensors, whose names and shapes must be theirs.

    They are compared before memory is taken: a configuration may claim any size, a file has what it has.
    """
    with torch.device("meta"), WithoutMemory():
        shapes = build(config)
        require_same(folder / WEIGHTS, shapes.state_dict(), CONFIG)
        if (described := _described_task(folder, shapes)) is not None:
            require_same(folder / TASK_WEIGHTS, described.added_state(), TASK)
    with without_weights():
        model = build(config)
        task = _described_task(folder, model)
    _assign(model, model.state_dict(), folder / WEIGHTS)
    if task is not None:
        _assign(task, task.added_state(), folder / TASK_WEIGHTS)
        task.eval()
    return model, task


def read_task(folder: Path, model: Backbone) -> TaskModel | None:
    """The task model of a folder, with its tensors, on a model that has its own; None before fine-tuning.

    Raises:
        UserError: a file is missing, or of another task.
    """
    with without_weights():
        task = _described_task(folder, model)
    if task is None:
        return None
    require_same(folder / TASK_WEIGHTS, task.added_state(), TASK)
    _assign(task, task.added_state(), folder / TASK_WEIGHTS)
    return task.eval()


def _described_task(folder: Path, model: Backbone) -> TaskModel | None:
    """The task model that the folder describes."""
    if not (folder / TASK).exists():
        return None
    values = read_json_object(folder / TASK)
    try:
        if not task_spec(str(values.get("kind"))).tunable:
            raise UserError(f"no model is fine-tuned for {values['kind']}")
    except UserError as error:
        raise UserError(
            f"{folder / TASK}: {error}; install the package that adds the task, or call its "
            "xfm.register_task first"
        ) from error
    return build_task_model(from_plain(TaskConfig, values, folder / TASK), model)


def _assign(module: nn.Module, own: dict[str, Tensor], path: Path) -> None:
    """Give the module the tensors of a file in the types of `own`; it keeps the others that it has."""
    stored = read_tensors(path)
    require_finite(path, stored)
    for name, tensor in stored.items():
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise UserError(f"{path}: {name} is of type {tensor.dtype}, not {own[name].dtype}; copy it again")
        stored[name] = tensor.to(own[name].dtype)
    module.load_state_dict({**module.state_dict(), **stored}, assign=True)


def _refuse_foreign(folder: Path) -> None:
    """Only a model folder or an empty one may be replaced."""
    if not folder.exists():
        if os.path.islink(os.path.realpath(folder)):  # a link to nothing is followed, one to itself is not
            raise UserError(f"{folder} is a link to itself; remove it, or name another folder")
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; name another folder for the model")
    if any(folder.iterdir()) and not (folder / CONFIG).exists():
        raise UserError(f"{folder} holds something else than a model; name another folder for it")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(as_json(value), encoding="utf-8")


def as_json(value: Any, indent: int | None = 2) -> str:
    """A value as the files of a model folder hold it."""
    return json.dumps(value, indent=indent, sort_keys=True, default=str) + "\n"
