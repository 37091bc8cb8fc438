"""Weights and settings of other models: a folder, a file or the Hugging Face hub; nothing is executed.

Weights are safetensors, or pickled ones of PyTorch (`.th`, `.pt`, `.pth`, `.bin`)."""

import argparse
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from xfm.config.plain import yaml_value
from xfm.core.errors import UserError, explained, import_extra
from xfm.core.files import open_regular, read_json_object, read_text, reading
from xfm.data.tokenizer import Tokenizer
from xfm.models.artifacts import Preprocessing
from xfm.models.weights import read_tensors, require_finite

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
SETTING_FILES = ("*.json", "README.md")
TOKENIZER_FILES = ("*.txt", "*.json")
Module = TypeVar("Module", bound=nn.Module)
_NESTED = ("model", "module", "state_dict")
_ZIP = b"PK\x03\x04"


def fetch_repository(reference: str, patterns: Sequence[str], others: Sequence[str] = ()) -> Path:
    """Folder or file of a reference: a path, or a repository of the hub, downloaded once (weights and
    `patterns`; the first of `others` that is there where it has no usual file of weights); a UserError where
    there is neither."""
    if Path(reference).exists():
        return Path(reference)
    from huggingface_hub import snapshot_download

    failing = f"{reference} is neither a path here nor can it be read from the hub"
    remedy = "check the name, or give the folder of a downloaded copy"
    with explained(failing, remedy, OSError, ValueError):  # the hub's errors are of these kinds
        names = [*WEIGHT_FILES, *others]
        while True:
            folder = Path(snapshot_download(reference, allow_patterns=[names[0], *patterns]))
            if (folder / names.pop(0)).exists() or not names:
                return folder


def read_stored(path: Path, allowed: Sequence[type] = ()) -> object:
    """Tensors by name of a safetensors file, else the content of a pickle, see `read_pickle`."""
    with reading(path), open_regular(path) as file:
        safe = file.read(9)[8:] == b"{"  # eight bytes of length, then a JSON object
    return read_tensors(path) if safe else read_pickle(path, allowed)


def named_tensors(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors of a mapping with a name, each dense and stored whole."""
    found = {name: t for name, t in content.items() if isinstance(name, str) and isinstance(t, Tensor)}
    for name, tensor in found.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise UserError(f"{path}: {name} is sparse, quantised or without values; save a dense tensor")
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise UserError(f"{path}: {name} is expanded from fewer values; save a dense tensor")
    return found


def read_pickle(path: Path, allowed: Sequence[type] = ()) -> object:
    """Content of a pickled file by torch's `weights_only` reader (plus `allowed` classes); a UserError
    where it would run code, is damaged, or unpacks to more than its length."""
    refuse_bomb(path)
    broken = f"{path} is truncated or no checkpoint"
    with explained(broken, "get it again"):  # a damaged file makes the reader fail in any of its layers
        try:
            with torch.serialization.safe_globals([*allowed]):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL ([\w.]+)|(?:class|function|for) ([\w.]+\.[\w.]+)", str(error))
            what = next((name for name in found.groups() if name), "") if found else ""
            if what:
                raise UserError(
                    f"{path} would run code when it is read ({what}) and is refused; only tensors, plain "
                    "containers, numbers and texts are read"
                ) from error
            # What torch says is how to switch its safe reader off, which nobody should.
            raise UserError(f"{broken}; get it again") from error


def refuse_bomb(path: Path) -> None:
    """A UserError for a compressed or overlapping archive: torch writes none, but unpacks any to any size."""
    with explained(f"{path} is truncated or no checkpoint", "get it again"), reading(path):
        with open_regular(path) as file:
            if file.read(len(_ZIP)) != _ZIP:
                return
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
            packed = [entry for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    if packed or claimed > path.stat().st_size:
        raise UserError(f"{path} unpacks to more than it is long and is refused; torch writes no such file")


def weights_file(path: Path) -> Path:
    """File of weights in a folder, or the file itself; a UserError where there is none."""
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path} holds no {' or '.join(WEIGHT_FILES)}; point to a folder that does")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors or pickled file, also below `model`, `module` or `state_dict`, on the CPU,
    floats as float32; nothing is executed. A UserError where damaged."""
    stored: Any = read_stored(path, [argparse.Namespace])  # the options of a training run
    for name in _NESTED:
        if isinstance(stored, Mapping) and isinstance(stored.get(name), Mapping):
            stored = stored[name]
    tensors = named_tensors(path, stored) if isinstance(stored, Mapping) else {}
    if not tensors:
        raise UserError(f"{path} holds no tensors by name; give a file of weights")
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object of settings, empty where the file is missing."""
    return read_json_object(path) if path.is_file() else {}


def read_licence(folder: Path) -> str | None:
    """Licence in the header of a folder's model card, if any."""
    card = folder / "README.md"
    text, header = read_text(card, errors="replace") if card.is_file() else "", None
    if text.startswith("---"):
        with suppress(ValueError):
            header = yaml_value(text.split("---", 2)[1])
    if not isinstance(header, dict):
        return None
    found = header.get("license")
    # Of a licence without a name of its own, the card says it elsewhere.
    found = header.get("license_name", found) if found == "other" else found
    names = found if isinstance(found, list) else [found]
    # Other values could be one list many times over, of any size as text.
    return ", ".join(name for name in names if isinstance(name, str)) or None


def filled(
    build: Callable[[], Module],
    state: Mapping[str, Tensor],
    file: Path,
    optional: frozenset[str] = frozenset(),
) -> Module:
    """A module with the tensors of `state`, checked against a meta build before memory is taken; names in
    `optional` may be absent. A UserError for missing, misshapen or non-finite tensors."""
    with torch.device("meta"):
        wanted = build().state_dict()
    for name, own in wanted.items():
        if name not in state and name not in optional:
            raise UserError(f"{file} lacks the weights of {name}; give the file of a whole encoder")
        if name in state and state[name].shape != own.shape:
            shapes = f"have shape {list(state[name].shape)}, expected {list(own.shape)}"
            raise UserError(f"{file}: the weights of {name} {shapes}; it is not what its settings claim")
        if name in state and own.is_floating_point() != state[name].is_floating_point():
            raise UserError(f"{file}: the weights of {name} are of type {state[name].dtype}, not float32")
    require_finite(file, state)
    module = build()
    module.load_state_dict(dict(state), strict=not optional)
    return module


@dataclass(frozen=True)
class EncoderPart:
    """An encoder of another model, in evaluation mode. `source` is for the provenance; `fresh` are parameters
    without source, `ignored` names of the source that have no place. A vision encoder has `preprocessing`, a
    language encoder a `tokenizer` and its MLM head's tensors by the names of `TokenHead` (empty: none).
    `classes` are the names of a vision encoder's classes."""

    encoder: Any
    source: dict[str, Any]
    preprocessing: Preprocessing | None = None
    tokenizer: Tokenizer | None = None
    head: dict[str, Tensor] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def preprocessing(
    source: Path | str | None, image_size: int, mean: Any, std: Any, image_width: int | None = None
) -> Preprocessing:
    """Preprocessing with mean and deviation from another model's settings; a UserError unless they are
    three numbers each."""
    wanted = f"{source}: mean and deviation of the pixels must be three numbers each"
    with explained(wanted, "copy it again", ValueError, TypeError, ArithmeticError):
        of_pixels: Any = [tuple(float(number) for number in numbers) for numbers in (mean, std)]
        return Preprocessing(image_size, *of_pixels, image_width=image_width)


def read_tokenizer(path: Path) -> Tokenizer:
    """Tokenizer of a `tokenizer.json`, or of a folder: that file, or else whatever transformers reads there,
    such as RoBERTa's `vocab.json` with `merges.txt`. A UserError where none is readable."""
    if not path.is_dir() or (path / "tokenizer.json").is_file():
        return Tokenizer.load(path / "tokenizer.json" if path.is_dir() else path)
    transformers = import_extra("transformers", f"{path} has no tokenizer.json, and its vocabulary")
    with explained(f"{path} has no tokenizer.json, nor does transformers find a vocabulary", "copy it again"):
        found = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        return Tokenizer(found.backend_tokenizer, str(path))
