"""Configurations as plain values for YAML and JSON, and where two of them differ."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import yaml

MOST_VALUES, DEEPEST_VALUE = 100_000, 50
"""Values and levels of settings, far above any."""


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
    old: Any, new: Any, ignored: frozenset[str] = frozenset()
) -> tuple[str, Any, Any] | None:
    """The first of the `differences` of two plain values; None where nothing differs."""
    return next(differences(old, new, ignored), None)


def differences(
    old: Any, new: Any, ignored: frozenset[str] = frozenset(), name: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, old and new value of each field that differs; None where one side lacks it."""
    if name in ignored or old == new:
        return
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        yield name, old, new
        return
    for key in [*old, *(key for key in new if key not in old)]:
        yield from differences(old.get(key), new.get(key), ignored, f"{name}.{key}" if name else str(key))


def check_value_count(value: Any, left: int = MOST_VALUES, depth: int = 0) -> int:
    """Refuse values out of proportion, as YAML's `&` and `*` make them; returns how many more may follow."""
    if depth > DEEPEST_VALUE or left <= 0:
        raise ValueError("a value holds itself, or is too large or too deep (see its `&` and `*`)")
    left -= 1
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for item in items:
        left = check_value_count(item, left, depth + 1)
    return left


def yaml_value(text: str) -> Any:
    """A YAML text as a value; a ValueError says why it is none, on one line."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: the 45th of January
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise ValueError("a value is not of the type that stands before it as `!!`") from error
