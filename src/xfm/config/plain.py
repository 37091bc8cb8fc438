"""Configurations as plain values for YAML and JSON, and where two of them differ."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any


def to_plain(value: Any) -> Any:
    """Nested dataclasses as mappings, enums as their values, tuples as lists: what YAML and JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value) if f.init}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def first_difference(
    old: Any, new: Any, ignored: frozenset[str] = frozenset(), name: str = ""
) -> tuple[str, Any, Any] | None:
    """The first field in which two plain values differ.

    Args:
        old, new: results of `to_plain`.
        ignored: dotted names that may differ, with everything below them.
        name: dotted name of the values themselves.

    Returns:
        Dotted name, old and new value; None where nothing differs. A field that one side lacks is None there.
    """
    if name in ignored or old == new:
        return None
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return name, old, new
    for key in [*old, *(key for key in new if key not in old)]:
        below = f"{name}.{key}" if name else str(key)
        if found := first_difference(old.get(key), new.get(key), ignored, below):
            return found
    return None
