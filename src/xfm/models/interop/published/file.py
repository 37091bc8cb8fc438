"""Reading and writing the published files: pickled dictionaries with `model` and `config`, never executed."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.config.plain import check_value_count
from xfm.core.errors import UserError
from xfm.core.files import writing
from xfm.models.interop.pickles import named_tensors, read_stored

_PLAIN = (str, int, float, bool, type(None))


def read_published(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name and plain settings of a `.th`, `.pt` or safetensors file; nothing is executed."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a published checkpoint; name the .th or .pt file")
    content = read_stored(path)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} holds a {type(content).__name__}, not a dictionary with `model` and `config`"
        )
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
    try:  # a pickle may hold one list in many places, or in itself: a few bytes could stand for any size
        check_value_count(config)
    except ValueError as error:
        raise UserError(f"{path}: the config {error}; save it without") from error
    return state, _plain(config, path)


def write_published(path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write a published file, whole or not at all."""
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"{path} is a folder, a device or a link to nothing, not a file; name another file")
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with writing(path, "or name another file"):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Given a name, torch's own writer would say "unexpected pos" of a full disk.
            with partial.open("wb") as stream:
                torch.save({"model": dict(state), "config": dict(config)}, stream)
            os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _plain(value: Any, path: Path, name: str = "config") -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item, path, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, path, f"{name}.{place}") for place, item in enumerate(value)]
    if isinstance(value, _PLAIN):
        return value
    raise UserError(f"{path}: {name} is a {type(value).__name__}; a config may hold plain values only")
