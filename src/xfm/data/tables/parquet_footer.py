"""The footer of a Parquet file, looked through before pyarrow is asked for a column's part of it.

There pyarrow ends the process where the sizes that a column claims do not fit its schema, and where a
column is encrypted: it checks both, and nothing takes the error.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from xfm.data.tables.thrift import INT32, INT64, STRUCTURE, TEXT, Ways, walk
from xfm.errors import UserError

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

_BYTES, _REPETITION, _DEFINITION = 1, 2, 3
"""Of the sizes that a column claims: bytes of its texts, and how many values have each level."""
_SIZES: Ways = {_BYTES: {}, _REPETITION: INT64, _DEFINITION: INT64}
_COLUMN: Ways = {2: INT32, 3: TEXT, 8: STRUCTURE, 13: STRUCTURE, 16: _SIZES, 17: {2: INT32}}
_WAYS: Ways = {2: STRUCTURE, 4: {1: {3: _COLUMN, 8: {}}, 4: STRUCTURE}, 5: STRUCTURE, 7: STRUCTURE}
"""Of each column in a group of rows: what it is encrypted with, and the sizes that it claims; and every list
of a footer."""
_END = 8  # bytes behind a footer: its length, and the mark of the format


def check_footer(path: Path, metadata: "FileMetaData") -> None:
    """Refuse a footer that would end the process.

    Args:
        path: of the file.
        metadata: its footer, as pyarrow has read it.

    Raises:
        UserError: a column is encrypted, or what is said of its sizes does not fit its kind.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(-_END, 2)
        length = int.from_bytes(file.read(_END)[:4], "little")
        file.seek(-_END - length, 2)
        data = file.read(length)
    fields: list[tuple[tuple[int, ...], int]] = []
    try:
        walk(data, _WAYS, lambda way, kind, number: fields.append((way, number)))
    except (IndexError, ValueError):
        raise _damaged(path) from None
    for way, number in fields:
        match way:
            case (4, _, 1, _, 8):
                raise UserError(
                    f"{path} has encrypted columns, which are not read; write it without encryption"
                )
            case (4, _, 1, column, 3, 16, size) if not _fits(metadata, column, size, number):
                raise _damaged(path)
            case _:
                pass


def _fits(metadata: "FileMetaData", column: int, size: int, number: int) -> bool:
    """Whether what is said of a column's sizes is of its kind: texts have bytes, levels one count each."""
    if column >= len(metadata.schema):
        return False
    leaf = metadata.schema.column(column)
    if size == _BYTES:
        return leaf.physical_type == "BYTE_ARRAY"
    levels = leaf.max_repetition_level if size == _REPETITION else leaf.max_definition_level
    return number in (0, levels + 1)


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is not a Parquet file (its footer is damaged); copy it again")
