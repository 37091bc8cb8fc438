"""Reading and writing of published files: pickled dictionaries with `model` and `config`, never executed;
export in the key names, tied copies and buffers of the published code."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.config.encoders import LanguageConfig, Positions, VisionConfig
from xfm.config.plain import check_value_count, to_plain
from xfm.config.task import HeadKind, ImageHead
from xfm.config.tasks import IMAGE_CLASSIFICATION
from xfm.core.errors import UserError, explained
from xfm.core.files import replacing, writing
from xfm.core.results_folder import free_name
from xfm.models.folder import Pretrained
from xfm.models.interop.published.names import TASK_PREFIX, native_parts, spare, to_published
from xfm.models.interop.sources import named_tensors, read_stored

OWN = "xfm"
"""Key of the pickled config under which `xfm export` keeps what the tensors do not show."""
_PLAIN = (str, int, float, bool, type(None))


def read_published(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name and plain settings of a `.th`, `.pt` or safetensors file; nothing is executed."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a published checkpoint; name the .th or .pt file")
    content = read_stored(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not `model` and `config`")
    model = content.get("model", content)
    if not isinstance(model, Mapping):
        raise UserError(f"{path}: `model` is a {type(model).__name__}, not a dictionary of tensors")
    state = named_tensors(path, model)
    if foreign := [name for name in model if name not in state]:
        named = foreign[0] if isinstance(foreign[0], str) else f"a {type(foreign[0]).__name__} as a name"
        raise UserError(f"{path}: {named} is no tensor, but `model` must hold nothing else")
    config = content.get("config") if "model" in content else None
    if not isinstance(config, Mapping):
        return state, {}
    # A pickle may hold one list in many places, or in itself: a few bytes could stand for any size.
    with explained(f"{path}: the config is no plain one", "save it without", ValueError):
        check_value_count(config)
    return state, _plain(config, path)


def _plain(value: Any, path: Path, name: str = "config") -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, path, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, path, f"{name}.{place}") for place, item in enumerate(value)]
    if isinstance(value, _PLAIN):
        return value
    raise UserError(f"{path}: {name} is a {type(value).__name__}; a config may hold plain values only")


def export(pretrained: Pretrained, path: Path) -> list[str]:
    """Write a published file, with a task in its layout; returns sentences on what the published code
    computes differently. A UserError where the file exists or a head has no published names."""
    if os.path.lexists(path):
        raise UserError(f"{path} exists already; name another file, such as {free_name(path)}")
    model, task = pretrained.model, pretrained.task
    config = model.config
    described = None if task is None else task.task
    if described and described.kind == IMAGE_CLASSIFICATION.name and described.image_head is ImageHead.LINEAR:
        raise UserError("the published code knows no linear head; fine-tune with the published head")
    if described and described.head is HeadKind.PROBE:
        raise UserError("the published code knows no probe; fine-tune with --preset good")
    native = dict(model.state_dict())
    if task is not None:
        native |= task.shared_state()
        native |= {f"{TASK_PREFIX}{name}": tensor for name, tensor in task.added_state().items()}
    # Copies of their own: a view would take the whole tensor that it is cut from into the file.
    state = {name: t.detach().cpu().clone() for name, t in to_published(native, config, described).items()}
    copies, constants, _ = spare(config, described)
    state |= {name: state[source] for name, source in copies.items()} | constants
    own = {"model": config, "task": described, "preprocessing": pretrained.preprocessing}
    settings = {
        "image_res": config.vision.image_size,
        "patch_size": config.vision.patch_size,
        "embed_dim": config.projection,
        "temp": config.temperature,
        OWN: to_plain(own),
    }
    with writing(path, "or name another file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:  # by its name, torch would say "unexpected pos" of a full disk
            torch.save({"model": state, "config": settings}, stream)
    vision, language = native_parts(config)
    epsilons = (vision.norm_eps, language.norm_eps), (VisionConfig.norm_eps, LanguageConfig.norm_eps)
    otherwise = {
        f"vision encoder has no {vision.positions} positions": vision.positions is not Positions.NONE,
        "vision encoder takes square pictures only": vision.image_width is not None,
        "encoders have other epsilons in their LayerNorms": epsilons[0] != epsilons[1],
        "fusion encoder has as many attention heads as the language encoder": (
            config.fusion.heads != language.heads
        ),
    }
    return [f"the published {said}" for said, holds in otherwise.items() if holds]
