"""Header of a safetensors file, checked before a library reads it; nothing here imports torch."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from xfm.core.errors import UserError, explained, require_memory
from xfm.core.files import open_regular

MAX_HEADER = 16 << 20
"""Bytes of a header: room for some 100,000 tensors."""


def read_header(path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Offset of the first tensor's bytes, and `dtype`, `shape` and `data_offsets` by tensor; a UserError
    where the file is missing, truncated, not safetensors or larger than memory."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            content = file.read(min(length, MAX_HEADER))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; point to a folder that holds a saved model") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); copy it again") from error
    # Bounds before the library reads: it takes headers up to 100 MB, and waits for a pipe.
    if length > max(0, size - 8):
        raise UserError(
            f"{path} is truncated or not a safetensors file (its header claims {length} bytes, the file has "
            f"{size}); copy it again"
        )
    if length > MAX_HEADER:
        raise UserError(
            f"{path} has a header of {length} bytes, over the {MAX_HEADER} allowed; save fewer tensors"
        )
    require_memory(path, size)
    with explained(
        f"{path} is truncated or not a safetensors file", "copy it again", OSError, SafetensorError
    ):
        with safe_open(path, framework="numpy"):
            pass  # checks that names, shapes and places fit one another and the file's length
        header = json.loads(content)
    header.pop("__metadata__", None)
    return 8 + length, header


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors of a safetensors file; errors as `read_header`."""
    return {name: entry["shape"] for name, entry in read_header(path)[1].items()}
