"""Reading and writing the published files: pickled dictionaries with `model` and `config`, never executed."""

import contextlib
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.errors import UserError
from xfm.modeling.weights import read_tensors

_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class PublishedFile:
    """What a published file holds.

    Attributes:
        path: the file.
        state: tensors by the names in the file.
        config: the settings that were pickled with them: plain containers, numbers and texts.
    """

    path: Path
    state: dict[str, Tensor]
    config: dict[str, Any]


def read_published(path: Path) -> PublishedFile:
    """Read a `.th` or `.pt` file, or safetensors with the same names, without running anything in it.

    The pickle goes through torch's `weights_only` reader, which builds tensors, containers, numbers and texts
    and refuses everything else.

    Raises:
        UserError: missing, truncated or another kind of file, or one that would run code.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a published checkpoint; name the .th or .pt file")
    if _is_safetensors(path):
        return PublishedFile(path, read_tensors(path), {})
    content = _unpickle(path)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} holds a {type(content).__name__}, not a dictionary with `model` and `config`"
        )
    model = content.get("model", content)
    if not isinstance(model, Mapping):
        raise UserError(f"{path}: `model` is a {type(model).__name__}, not a dictionary of tensors")
    state = {str(name): value for name, value in model.items() if isinstance(value, Tensor)}
    if foreign := [name for name in model if str(name) not in state]:
        raise UserError(f"{path}: {foreign[0]} is no tensor, but `model` must hold nothing else")
    for name, tensor in state.items():
        _check_dense(path, name, tensor)
    config = content.get("config", {}) if "model" in content else {}
    return PublishedFile(path, state, _plain(config, path) if isinstance(config, Mapping) else {})


def write_published(path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write a published file, whole or not at all; tensors that are the same object are stored once.

    Raises:
        UserError: the place is not writable or the disk is full.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"model": dict(state), "config": dict(config)}, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise UserError(
            f"{path} cannot be written ({_one_line(error)}); make room or name another"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors do: eight bytes of length, then a JSON object."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path") from error


def _unpickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)|(?:class|function|for) ([\w.]+\.[\w.]+)", str(error))
        what = next((name for name in found.groups() if name), "") if found else ""
        if what:
            raise UserError(
                f"{path} would run code when it is read ({what}) and is refused; only tensors, plain "
                "containers, numbers and texts are read"
            ) from error
        raise UserError(f"{path} is truncated or no checkpoint ({_one_line(error)}); get it again") from error
    except Exception as error:  # a damaged file makes the reader fail in any of its layers
        raise UserError(f"{path} is truncated or no checkpoint ({_one_line(error)}); get it again") from error


def _check_dense(path: Path, name: str, tensor: Tensor) -> None:
    """Every number must be in the file: a few bytes could otherwise stand for terabytes."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        raise UserError(f"{path}: {name} is sparse, quantised or without values; save a dense tensor")
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        raise UserError(f"{path}: {name} is expanded from fewer values; save a dense tensor")


def _one_line(error: BaseException) -> str:
    """The beginning of a message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 120 else f"{text[:117]}..."


def _plain(value: Any, path: Path, name: str = "config") -> Any:
    """The value if it is made of dictionaries, lists, numbers and texts alone."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, path, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, path, f"{name}.{place}") for place, item in enumerate(value)]
    if isinstance(value, _PLAIN):
        return value
    raise UserError(f"{path}: {name} is a {type(value).__name__}; a config may hold plain values only")
