"""Fastest runtime for a model on this machine, as measured by `xfm evaluate --backends`, in the cache."""

import functools
import hashlib
import json
import warnings
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from xfm.config.artifacts import Format
from xfm.config.plain import to_plain
from xfm.config.typed import from_plain
from xfm.core.errors import UserError
from xfm.core.files import read_json_object, write_text
from xfm.core.paths import cache_folder
from xfm.core.processes import processor
from xfm.models.self_check import SELF_CHECK


@dataclass(frozen=True)
class Way:
    """A runtime with its arithmetic: `form` of the graphs (None: torch on the model), `half` for bfloat16."""

    name: str
    form: Format | None = None
    half: bool = False


WAYS = {
    way.name: way
    for way in (
        Way("torch"),
        Way("torch-bf16", half=True),
        Way("onnxruntime", Format.ONNX),
        Way("openvino", Format.OPENVINO),
        Way("openvino-bf16", Format.OPENVINO, half=True),
    )
}
"""Those that are measured; the first is what others are compared with."""


@dataclass(frozen=True)
class Figure:
    """Median milliseconds of a pass of `batch` images or texts: `work` is image, text or matching."""

    way: str
    work: str
    batch: int
    milliseconds: float


@dataclass(frozen=True)
class ChosenWay:
    """Measurements on a machine and the chosen runtime; `left_out` has a reason each."""

    way: str
    machine: str
    figures: tuple[Figure, ...]
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise ValueError(f"there is no way {self.way}")


def kept_for(folder: Path) -> Path:
    """Cache folder of a model, known by its self-check; a UserError where it has none."""
    path = folder / SELF_CHECK
    if not path.is_file():
        raise UserError(f"{folder} has no {SELF_CHECK}: save the model again (xfm.load, then xfm.save_model)")
    return cache_folder() / "backends" / hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@functools.cache
def machine() -> str:
    """Processor, threads and libraries, in words."""
    libraries = []
    for library in ("torch", "onnxruntime", "openvino"):
        try:
            libraries.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return ", ".join([processor(), f"{torch.get_num_threads()} threads", *libraries])


def _file(folder: Path) -> Path:
    return kept_for(folder) / f"{hashlib.sha256(machine().encode()).hexdigest()[:16]}.json"


def keep(folder: Path, choice: ChosenWay) -> Path:
    """Store the choice for a model on this machine; returns the file."""
    path = _file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(to_plain(choice), indent=2) + "\n")
    return path


def chosen(folder: Path) -> Way | None:
    """Runtime chosen for a model on this machine with these libraries; None where none was."""
    try:
        if not (folder / SELF_CHECK).is_file() or not (path := _file(folder)).is_file():
            return None
        way = WAYS[from_plain(ChosenWay, read_json_object(path), path).way]
    except (UserError, OSError) as error:
        warnings.warn(
            f"{error}; xfm evaluate --backends makes it anew, and until then torch runs it", stacklevel=2
        )
        return None
    return way if way.form is None or (kept_for(folder) / way.form.value).is_dir() else None
