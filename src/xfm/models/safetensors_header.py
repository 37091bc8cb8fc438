"""Safetensors files, whose header is checked before the library reads it; nothing here imports torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from xfm.core.errors import UserError, explained, require_memory
from xfm.core.files import open_regular, reading

MAX_HEADER = 16 << 20
"""Bytes of a header: room for some 100,000 tensors."""


@contextmanager
def opened(path: Path, framework: str = "numpy") -> Iterator[Any]:
    """A file of `safetensors.safe_open`; a UserError where it is missing, truncated, not safetensors, of an
    unknown dtype or larger than memory."""
    with reading(path, "copy it again, or name a folder that holds a model"), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
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
    flaw = f"{path} is truncated or not a safetensors file"
    with explained(flaw, "copy it again", OSError, SafetensorError), safe_open(path, framework) as file:
        yield file


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors of a safetensors file; errors as `opened`."""
    with opened(path) as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
