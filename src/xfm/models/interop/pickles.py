"""Files of weights: safetensors, or pickled ones of PyTorch (`.th`, `.pt`, `.pth`, `.bin`).

They are read without running anything in them.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.core.errors import UserError, first_line
from xfm.core.files import open_regular
from xfm.models.weights import read_tensors

_ZIP = b"PK\x03\x04"


def read_stored(path: Path, allowed: Sequence[type] = ()) -> object:
    """Tensors by name of a safetensors file, else the content of a pickle, see `read_pickle`."""
    try:
        with open_regular(path) as file:
            safe = file.read(9)[8:] == b"{"  # eight bytes of length, then a JSON object
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path") from error
    return read_tensors(path) if safe else read_pickle(path, allowed)


def named_tensors(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors of a mapping with a name, each dense and stored whole."""
    found = {name: t for name, t in content.items() if isinstance(name, str) and isinstance(t, Tensor)}
    for name, tensor in found.items():
        _check_dense(path, name, tensor)
    return found


def read_pickle(path: Path, allowed: Sequence[type] = ()) -> object:
    """Content of a pickled file by torch's `weights_only` reader (plus `allowed` classes); a UserError
    where it would run code, is damaged, or unpacks to more than its length."""
    refuse_bomb(path)
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
        raise UserError(
            f"{path} is truncated or no checkpoint; get it again, or name another file"
        ) from error
    except Exception as error:  # a damaged file makes the reader fail in any of its layers
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is truncated or no checkpoint ({first_line(error)}); get it again")


def _check_dense(path: Path, name: str, tensor: Tensor) -> None:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        raise UserError(f"{path}: {name} is sparse, quantised or without values; save a dense tensor")
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        raise UserError(f"{path}: {name} is expanded from fewer values; save a dense tensor")


def refuse_bomb(path: Path) -> None:
    """A UserError for a compressed or overlapping archive: torch writes none, but unpacks any to any size."""
    try:
        with open_regular(path) as file:
            if file.read(len(_ZIP)) != _ZIP:
                return
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
            packed = [entry for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check the path") from error
    except Exception as error:  # as above: of many kinds
        raise _damaged(path, error) from error
    if packed or claimed > path.stat().st_size:
        raise UserError(
            f"{path} unpacks to more than it is long and is refused; torch.save writes no such file"
        )
