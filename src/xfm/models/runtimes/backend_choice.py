"""The fastest way to run a model on this machine: what `xfm evaluate --backends` measured, in the cache."""

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
    """A way to run a model.

    Attributes:
        name: of the runtime and, where it is not float32, the arithmetic.
        form: of the graphs; None for torch on the model itself.
        half: compute in bfloat16.
    """

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
    """How long a way takes.

    Attributes:
        way: its name.
        work: image, text or matching.
        batch: pictures or texts of a pass.
        milliseconds: of a pass, the median.
    """

    way: str
    work: str
    batch: int
    milliseconds: float


@dataclass(frozen=True)
class ChosenWay:
    """What was measured on a machine, and what came of it.

    Attributes:
        way: that is taken.
        machine: on which it was measured, in words.
        figures: of all ways.
        left_out: ways that were not measured, each with the reason.
    """

    way: str
    machine: str
    figures: tuple[Figure, ...]
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise ValueError(f"there is no way {self.way}")


def kept_for(folder: Path) -> Path:
    """Where the cache keeps what belongs to a model: it is known by its self-check.

    Raises:
        UserError: it has none.
    """
    path = folder / SELF_CHECK
    if not path.is_file():
        raise UserError(f"{folder} has no {SELF_CHECK}: save the model again (xfm.load, then xfm.save_model)")
    return cache_folder() / "backends" / hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@functools.cache
def machine() -> str:
    """This machine and its libraries, in words."""
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
    """Keep a choice for a model on this machine; where it lies."""
    path = _file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(to_plain(choice), indent=2) + "\n")
    return path


def chosen(folder: Path) -> Way | None:
    """The way that was chosen for a model on this machine, with these libraries; None where none was."""
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
