"""The beginning of a safetensors file, checked before a library reads it; nothing here imports torch."""

import os
from pathlib import Path

from xfm.errors import UserError
from xfm.files import open_regular

MAX_HEADER = 16 << 20
"""Bytes of a header: room for some 100,000 tensors."""


def check_header(path: Path) -> None:
    """Refuse what is no regular file, and a header that is out of proportion.

    The library refuses headers that do not fit their file, but reads up to 100 MB of one, whatever memory
    that takes; and it waits for a pipe.

    Raises:
        UserError: the file is missing, no file, truncated, or larger than the machine's memory.
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
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise UserError(
            f"{path} has {size >> 20} MiB, more than the {memory >> 20} MiB of memory here; take a machine "
            "with more, or a smaller model"
        )
