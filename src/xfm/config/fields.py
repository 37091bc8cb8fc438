"""Values that a file or an option gives for fields of dataclasses: which there are, what may stand there.

Nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from xfm.config.members import member_of
from xfm.config.variants import variant
from xfm.errors import UserError, excerpt, suggest

WANTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list such as [a, b]",
}
"""What to write instead of a value of another type, in words."""


def check_fields(kind: type, values: Any, source: str, name: str = "") -> None:
    """Refuse fields that a dataclass does not have, and those without a value that must have one.

    Args:
        kind: the dataclass, or the type of a field.
        values: nested mapping, or the value of a field.
        source: where the values are from.
        name: dotted name of the field.

    Raises:
        UserError: names the field and the closest ones that exist, or the value and what may stand there.
    """
    if isinstance(values, list | tuple):
        for index, item in enumerate(values):
            check_fields(_item_type(kind), item, source, f"{name}.{index}")
    if values is None and kind is not Any and type(None) not in get_args(kind):
        raise UserError(f"{source}: {name or 'the file'} is empty; give its value, or leave it out")
    inner = dataclass_of(variant(kind, values))
    if values is None:
        return
    if inner is None:
        _check_optional(kind, values, source, name)
        return
    if not isinstance(values, Mapping):
        raise UserError(
            f"{source}: {name or 'the file'} must be a mapping of fields, not {excerpt(repr(values))}"
        )
    types = get_type_hints(inner)
    known = [f.name for f in fields(inner) if f.init]
    for key, value in values.items():
        below = f"{name}.{key}" if name else str(key)
        if key not in known:
            raise UserError(f"{source}: unknown field {excerpt(below)}; {suggest(str(key), known)}")
        check_fields(types[key], value, source, below)


def _check_optional(kind: Any, value: Any, source: str, name: str) -> None:
    """Refuse a word or a number that a field does not take which may also be left out.

    Of such a field the parser would tell all that it may be, None among it, and in how many ways it is none.
    """
    parts = [part for part in get_args(kind) if part is not type(None)]
    if get_origin(kind) not in (Union, UnionType) or len(parts) != 1:
        return
    (inner,) = parts
    several = get_origin(inner) in (list, tuple)
    item = get_args(inner)[0] if several else inner
    if isinstance(item, type) and issubclass(item, Enum):
        if several and not isinstance(value, list | tuple):
            words = ", ".join(str(one.value) for one in item)
            raise UserError(
                f"{source}: {name} is {excerpt(repr(value))}: give a list of {words}, in brackets"
            )
        for word in value if several else [value]:
            try:
                member_of(item, word)
            except ValueError as error:
                raise UserError(f"{source}: {name}: {error}") from None
    elif item in (int, float) and not several and not _is_number(item, value):
        raise UserError(f"{source}: {name} is {excerpt(repr(value))}: give {WANTED[item.__name__]}")


def _is_number(kind: type, value: Any) -> bool:
    try:
        number = kind(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return isinstance(value, str) or number == value  # 1.5 is no whole number


def dataclass_of(kind: Any) -> type | None:
    """The dataclass behind `T` or `T | None`, None for other types."""
    if get_origin(kind) in (Union, UnionType):
        kind = next((part for part in get_args(kind) if is_dataclass(part)), None)
    return kind if isinstance(kind, type) and is_dataclass(kind) else None


def _item_type(kind: Any) -> Any:
    """The type of the items of `list[T]` or `list[T] | None`."""
    if get_origin(kind) in (Union, UnionType):
        kind = next((part for part in get_args(kind) if get_origin(part) in (list, tuple)), None)
    return next(iter(get_args(kind)), None)
