"""The beginning of a safetensors file, checked before a library reads it; nothing here imports torch."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from xfm.core.errors import UserError, require_memory
from xfm.core.files import open_regular

MAX_HEADER = 16 << 20
"""Bytes of a header: room for some 100,000 tensors."""


def read_header(path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """What a safetensors file says of its tensors.

    Returns:
        The place of the first tensor's bytes, and of every tensor `dtype` (as the format names it), `shape`
        and `data_offsets` (first byte and the one after the last, from that place).

    Raises:
        UserError: the file is missing, no file, truncated, not safetensors, or larger than the machine's
            memory.
    """
    _check_size(path)
    try:
        with safe_open(path, framework="numpy"):
            pass  # checks that names, shapes and places fit one another and the file's length
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error
    header.pop("__metadata__", None)
    return 8 + length, header


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors of a safetensors file; raises as `read_header`."""
    return {name: entry["shape"] for name, entry in read_header(path)[1].items()}


def damaged(path: Path, error: Exception) -> UserError:
    """What to say of a file that cannot be read to its end."""
    return UserError(f"{path} is truncated or not a safetensors file ({error}); copy it again")


def _check_size(path: Path) -> None:
    """Refuse what is no regular file, and a header that is out of proportion.

    The library refuses headers that do not fit their file, but reads up to 100 MB of one, whatever memory
    that takes; and it waits for a pipe.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; point to a folder that holds a saved model") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); copy it again") from error
    if length > max(0, size - 8):
        raise UserError(
            f"{path} is truncated or not a safetensors file (its header claims {length} bytes, the file has "
            f"{size}); copy it again"
        )
    if length > MAX_HEADER:
        raise UserError(
            f"{path} has a header of {length} bytes, more than the limit of {MAX_HEADER}; save it with fewer "
            "tensors"
        )
    require_memory(path, size)
