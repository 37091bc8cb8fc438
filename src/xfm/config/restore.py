"""Configurations from plain values: the inverse of `to_plain`."""

from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from xfm.config.variants import variant
from xfm.errors import UserError, excerpt

T = TypeVar("T")


def from_plain(kind: type[T], values: Any, path: Path, name: str = "") -> T:
    """What `to_plain` made a plain value of: the inverse for the types of a model folder.

    A field that is not there takes its default, so that folders of older versions stay readable.

    Args:
        kind: a dataclass, an enum, a tuple of some or any length (`tuple[str, ...]`, also of one dataclass),
            int, float or str, or a union of them.
        values: the plain value.
        path: the file it was read from.
        name: dotted name of the value in the file.

    Raises:
        UserError: an unknown field, or a value of another type or out of range.
    """
    if values is None and type(None) in get_args(kind):
        return None  # pyright: ignore[reportReturnType]
    kind = variant(kind, values)
    if is_dataclass(kind):
        if not isinstance(values, dict):
            raise UserError(f"{path}: {name or 'the file'} must be an object; copy the file again")
        types = get_type_hints(kind)
        known = {f.name: types[f.name] for f in fields(kind)}
        prefix = f"{name}." if name else ""
        if unknown := sorted(values.keys() - known.keys()):
            raise UserError(
                f"{path}: unknown field {prefix}{excerpt(unknown[0])}; the model is of another version of "
                "xfm, upgrade or save it again"
            )
        needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        if missing := [one for one in needed if one not in values]:
            raise UserError(f"{path}: the field {prefix}{missing[0]} is missing; copy the file again")
        arguments = {key: from_plain(known[key], value, path, prefix + key) for key, value in values.items()}
        try:
            return kind(**arguments)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise UserError(f"{path} does not describe a model ({error}); copy the file again") from error
    if get_origin(kind) is tuple and isinstance(values, list) and is_dataclass(get_args(kind)[0]):
        part: Any = get_args(kind)[0]
        items = (from_plain(part, item, path, f"{name}[{place}]") for place, item in enumerate(values))
        return tuple(items)  # pyright: ignore[reportReturnType]
    converted = _scalar(kind, values)
    if converted is None:
        raise UserError(f"{path}: {name} cannot be {excerpt(repr(values))}; copy the file again")
    return converted


def _scalar(kind: Any, value: Any) -> Any:
    """The value as `kind`, None if it is none."""
    if get_origin(kind) is UnionType:  # of plain types: `int | None`
        return next((item for part in get_args(kind) if (item := _scalar(part, value)) is not None), None)
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if not isinstance(value, list):
            return None
        if parts[-1] is Ellipsis:
            parts = (parts[0],) * len(value)
        if len(value) != len(parts):
            return None
        items = tuple(_scalar(part, item) for part, item in zip(parts, value, strict=True))
        return None if None in items else items
    if issubclass(kind, Enum):
        return next((member for member in kind if member.value == value), None)
    if kind is float and type(value) is int:
        return float(value)
    return value if type(value) is kind else None
