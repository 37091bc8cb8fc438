"""Pickled plain data (lists, dictionaries, strings, numbers) from files that nobody has checked.

A pickle is a program: to load one is to run it. Reading here goes through an unpickler that knows no names at
all, so that no function or class can be called; what then remains are plain values.
"""

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from xfm.core.errors import UserError
from xfm.core.files import MAX_OFFICIAL, read_bytes

MAX_BYTES = 512 << 20
_PLAIN = (dict, list, tuple, str, int, float, bool, bytes, type(None))


def _refuse_byte_array(unpickler: object) -> NoReturn:
    raise pickle.UnpicklingError("it holds a byte array")


# The unpickler in C keeps its memo in an array whose length a file can choose: ten bytes take all memory. The
# one in Python keeps a dictionary, and reads the largest of these files in seconds.
class _PlainUnpickler(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    dispatch: ClassVar = {  # pyright: ignore
        **pickle._Unpickler.dispatch,  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        pickle.BYTEARRAY8[0]: _refuse_byte_array,
    }

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it asks for an outside object")


def read_plain_pickle(path: Path) -> Any:
    """Plain values of a pickle of Python 2 or 3 (strings of Python 2 as UTF-8); raises UserError when the
    file is damaged or too large, or holds more than plain values."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: the file has more than {MAX_BYTES} bytes; is it the official file?")
        data = read_bytes(path, MAX_OFFICIAL)
    except OSError as error:
        raise UserError(f"{path}: cannot read the file ({error.strerror}); check the path.") from error
    try:
        value = _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="replace").load()
    except Exception as error:  # a damaged program fails anywhere
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{path}: not a pickle of plain lists and dictionaries ({reason[:200]}), so it is not loaded; "
            "download the official file again."
        ) from None
    if type(value) not in _PLAIN:
        raise UserError(f"{path}: not a pickle of plain values; download the official file again.")
    return value
