"""Weights and settings of other models: a folder, a file or the Hugging Face hub; nothing is executed."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor, nn

from xfm.errors import UserError
from xfm.interop.pickles import check_dense, read_pickle
from xfm.modeling.weights import read_tensors

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
SETTING_FILES = ("*.json", "README.md")
TOKENIZER_FILES = ("*.txt", "*.json")
_NESTED = ("model", "module", "state_dict")


def fetch(reference: str, patterns: Sequence[str]) -> Path:
    """The folder or file of a reference; a name of the hub is downloaded (once, into the hub's cache).

    Args:
        reference: a path that exists, or the name of a repository, such as `FacebookAI/roberta-base`.
        patterns: what is needed of the repository beside the weights.

    Raises:
        UserError: there is no such path, and the hub has no such repository or cannot be reached.
    """
    if Path(reference).exists():
        return Path(reference)
    from huggingface_hub import snapshot_download

    safe, pickled = WEIGHT_FILES
    try:
        folder = Path(snapshot_download(reference, allow_patterns=[safe, *patterns]))
        if not (folder / safe).exists():
            folder = Path(snapshot_download(reference, allow_patterns=[pickled, *patterns]))
        return folder
    except (OSError, ValueError) as error:  # the hub's errors are of these kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{reference} is neither a path here nor can it be read from the hub ({reason}); check the name, "
            "or give the folder of a downloaded copy"
        ) from error


def weights_file(path: Path) -> Path:
    """The file with the weights of a folder; a file is that itself.

    Raises:
        UserError: the folder has none.
    """
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path} holds no {' or '.join(WEIGHT_FILES)}; point to a folder that does")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or PyTorch file, on the CPU; floating ones as float32.

    A pickled file is read without running any code of it. Weights that lie inside it under `model`, `module`
    or `state_dict` are found there.

    Raises:
        UserError: the file is damaged, or would have to run code.
    """
    if path.suffix == ".safetensors":
        stored: Any = read_tensors(path)
    else:
        stored = read_pickle(path, [argparse.Namespace])  # the options of a training run
    for name in _NESTED:
        if isinstance(stored, Mapping) and isinstance(stored.get(name), Mapping):
            stored = stored[name]
    named = stored.items() if isinstance(stored, Mapping) else ()
    tensors = {name: t for name, t in named if isinstance(name, str) and isinstance(t, Tensor)}
    if not tensors:
        raise UserError(f"{path} holds no tensors by name; give a file of weights")
    for name, tensor in tensors.items():
        check_dense(path, name, tensor)
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON file of settings, empty where there is none.

    Raises:
        UserError: it is no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); copy it again") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold a JSON object; copy it again")
    return values


def read_licence(folder: Path) -> str | None:
    """The licence that the model card of a folder names, if there is one."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    if not text.startswith("---"):
        return None
    try:
        header = yaml.safe_load(text.split("---", 2)[1])
    except (yaml.YAMLError, IndexError):
        return None
    return str(header["license"]) if isinstance(header, dict) and "license" in header else None


def fill(
    module: nn.Module, state: Mapping[str, Tensor], file: Path, optional: frozenset[str] = frozenset()
) -> None:
    """Copy tensors into a module, each by its name.

    Args:
        module: what to fill.
        state: a tensor for every parameter, and no others.
        file: where they come from.
        optional: names that may be absent; the module keeps what it has there.

    Raises:
        UserError: a tensor is missing or of another shape.
    """
    for name, own in module.state_dict().items():
        if name not in state and name not in optional:
            raise UserError(f"{file} lacks the weights of {name}; give the file of a whole encoder")
        if name in state and state[name].shape != own.shape:
            raise UserError(
                f"{file}: the weights of {name} have shape {list(state[name].shape)}, expected "
                f"{list(own.shape)}; the file is not of the architecture that it or its settings claim"
            )
    module.load_state_dict(dict(state), strict=not optional)
