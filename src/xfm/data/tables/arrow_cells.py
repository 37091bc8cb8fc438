"""Cells of Arrow columns as Python values; a value that stands in many rows is one object, not one a row."""

from typing import TYPE_CHECKING, Any

from xfm.data.records import Limits

if TYPE_CHECKING:
    from pyarrow import DataType, RecordBatch


class TooLargeError(ValueError):
    """A cell is larger than any that is used; the message continues a sentence whose subject is the cell."""


def rows_of(batch: "RecordBatch") -> list[dict[str, Any]]:
    """The rows of a batch; a cell that is too large is a `TooLargeError`, to be raised where it is used."""
    names = batch.schema.names
    if not names:  # of none of whose cells anything is wanted
        return [{} for _ in range(batch.num_rows)]
    columns = [cells_of(batch.column(number)) for number in range(len(names))]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def cells_of(array: Any) -> list[Any]:
    """The values of an Arrow array, None where there is none."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(array.type):
        indices = array.indices.to_pylist()
        used = sorted({*indices} - {None})
        found = dict(
            zip(used, cells_of(array.dictionary.take(pyarrow.array(used, pyarrow.int64()))), strict=True)
        )
        return [None if index is None else found[index] for index in indices]
    if types.is_struct(array.type):
        names = [array.type.field(number).name for number in range(array.type.num_fields)]
        inner = [cells_of(array.field(number)) for number in range(len(names))]
        made = [_checked(dict(zip(names, values, strict=True))) for values in zip(*inner, strict=True)]
        return [cell if there else None for cell, there in zip(made, _valid(array), strict=True)]
    if types.is_map(array.type):
        pairs = [*zip(cells_of(array.keys), cells_of(array.items), strict=True)]
        return _parts(array, [_checked(pair) for pair in pairs])
    if types.is_list(array.type) or types.is_large_list(array.type):
        return _parts(array, cells_of(array.values))
    if types.is_fixed_size_list(array.type):
        size, values = array.type.list_size, cells_of(array.values)
        starts = [size * (array.offset + number) for number in range(len(array))]
        lists = [_checked(values[start : start + size]) for start in starts]
        return [one if there else None for one, there in zip(lists, _valid(array), strict=True)]
    if isinstance(array.type, pyarrow.BaseExtensionType):
        return cells_of(array.storage)
    if _is_content(array.type) and array.nbytes > _largest(array.type):
        return [_value(one) for one in array]
    return array.to_pylist()


def _is_content(kind: "DataType") -> bool:
    from pyarrow import types

    return any(
        told(kind)
        for told in (
            *(types.is_binary, types.is_large_binary, types.is_binary_view),
            *(types.is_string, types.is_large_string, types.is_string_view),
        )
    )


def _parts(array: Any, values: list[Any]) -> list[Any]:
    offsets = array.offsets.to_pylist()
    spans = zip(offsets[:-1], offsets[1:], _valid(array), strict=True)
    return [_checked(values[begin:end]) if there else None for begin, end, there in spans]


def _valid(array: Any) -> list[bool]:
    return array.is_valid().to_pylist()


def _largest(kind: "DataType") -> int:
    from pyarrow import types

    binary = types.is_binary(kind) or types.is_large_binary(kind)
    return Limits().picture_bytes if binary else Limits().annotation_bytes


def _value(scalar: Any) -> Any:
    content = scalar.as_buffer()
    if content is not None and content.size > (limit := _largest(scalar.type)):
        return TooLargeError(f"has {content.size} bytes, more than the limit of {limit}")
    return scalar.as_py()


def _checked(cell: Any) -> Any:
    inner = cell.values() if isinstance(cell, dict) else cell
    return next((one for one in inner if isinstance(one, TooLargeError)), cell)
