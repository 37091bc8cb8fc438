"""Whether what a preparation has kept of itself is what it wrote: files may be damaged, or of others."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints


def require_kept(value: object) -> None:
    """Refuse a dataclass whose fields are of other types than they say.

    Args:
        value: its fields are numbers, texts, and mappings and lists of such.

    Raises:
        TypeError: one is; names it.
    """
    assert is_dataclass(value)
    hints = get_type_hints(type(value))
    for one in fields(value):
        if not _is(getattr(value, one.name), hints[one.name]):
            raise TypeError(f"{one.name} is of another kind")


def _is(value: Any, kind: Any) -> bool:
    """Whether a plain value is of a type such as `int` or `dict[str, int]`; a `Counter[str]` counts."""
    if kind is Any:
        return True
    outer, inner = get_origin(kind) or kind, get_args(kind)
    if not isinstance(value, outer) or (outer is int and isinstance(value, bool)):
        return False
    if isinstance(value, dict):
        keys, values = inner if len(inner) == 2 else (inner[0], int)
        return all(_is(key, keys) and _is(item, values) for key, item in value.items())
    return all(_is(item, inner[0]) for item in value) if isinstance(value, list) else True
