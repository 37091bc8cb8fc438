"""Dataclasses from plain values (of YAML, JSON, options and model folders), and the ranges of their numbers.
A field that is one of several dataclasses, such as the native encoder or one of another library, is the one
that has all keys of the mapping that is given."""

import functools
import math
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, field, fields, is_dataclass
from enum import Enum
from numbers import Real
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from xfm.core.errors import UserError, excerpt, naming, suggest

E = TypeVar("E", bound=Enum)
T = TypeVar("T")

WANTED: dict[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    list: "a list such as [a, b]",
    str: "a text, in quotes",
}
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")
"""Numbers that YAML takes for texts."""
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


def build(kind: Any, values: Any, source: str = "", name: str = "") -> Any:
    """The value of a type from a plain value, the inverse of `to_plain`. Types are dataclasses, enumerations,
    scalars, lists, tuples and dicts of them, unions with None or of dataclasses. A UserError begins with
    `source` and the dotted name."""
    check_names(kind, values, source, name)
    return _build(kind, values, f"{source}: " if source else "", name)


def _build(kind: Any, values: Any, before: str, name: str, default: Any = None) -> Any:
    place = f"{before}{name or 'the file'}"
    if values is None:
        if kind is Any or type(None) in get_args(kind):
            return None
        raise UserError(f"{place} is empty; give its value, or leave it out")
    kind = variant(kind, values)
    if is_dataclass(kind):
        return _built(kind, values, before, name, default)
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in (list, tuple):
        if not isinstance(values, list | tuple):
            members = ", ".join(_words(parts[0]))
            words = f"a list of {members}, in brackets" if members else WANTED[list]
            raise UserError(f"{place} is {excerpt(repr(values))}: give {words}")
        if origin is tuple and parts[-1] is not Ellipsis and len(parts) != len(values):
            raise UserError(f"{place} is {excerpt(repr(values))}: give {len(parts)} values")
        kinds = parts if origin is tuple and parts[-1] is not Ellipsis else [parts[0]] * len(values)
        numbered = enumerate(zip(kinds, values, strict=True))
        return origin(_build(one, item, before, f"{name}.{number}") for number, (one, item) in numbered)
    if origin in (dict, Mapping, Counter) and isinstance(values, Mapping):
        inner = int if origin is Counter else parts[1]
        made = {key: _build(inner, value, before, f"{name}.{key}") for key, value in values.items()}
        return Counter(made) if origin is Counter else made
    if origin in (Union, UnionType):
        for part in parts:
            with suppress(UserError):
                return _build(part, values, before, name)
    if isinstance(kind, type) and issubclass(kind, Enum):
        with naming(place, ValueError):
            return member_of(kind, values)
    if kind is Any:
        return values
    if kind is float and (type(values) is int or (isinstance(values, str) and _EXPONENT.fullmatch(values))):
        with suppress(OverflowError):
            return float(values)
    if type(values) is kind:
        return values
    raise UserError(f"{place} is {excerpt(repr(values))}: give {WANTED.get(kind, 'a mapping of fields')}")


def check_names(kind: Any, values: Any, source: str, name: str = "") -> None:
    """Refuse names of fields that a dataclass does not have, at any depth, with the closest ones."""
    kind = variant(kind, values)
    if is_dataclass(kind) and isinstance(values, Mapping):
        types, known = get_type_hints(kind), [f.name for f in fields(kind) if f.init]
        for key, value in values.items():
            below = f"{name}.{key}" if name else str(key)
            if key not in known:
                before = f"{source}: " if source else ""
                raise UserError(f"{before}unknown field {excerpt(below)}; {suggest(str(key), known)}")
            check_names(types[key], value, source, below)
    elif get_origin(kind) in (list, tuple) and isinstance(values, list | tuple):
        for number, value in enumerate(values):
            check_names(get_args(kind)[0], value, source, f"{name}.{number}")


def _built(kind: Any, values: Any, before: str, name: str, default: Any) -> Any:
    if isinstance(values, kind):
        return values
    if not isinstance(values, Mapping):
        place = name or "the file"
        raise UserError(f"{before}{place} must be a mapping of fields, not {excerpt(repr(values))}")
    types, known = get_type_hints(kind), {f.name: f for f in fields(kind) if f.init}
    prefix = f"{name}." if name else ""
    given: dict[str, Any] = {}
    for key, one in known.items():
        own = getattr(default, key) if isinstance(default, kind) else default_of(one)
        if key in values:
            given[key] = _build(types[key], values[key], before, f"{prefix}{key}", own)
        elif own is not MISSING:
            given[key] = own
        else:
            raise UserError(f"{before}{prefix}{key} is missing: give its value")
    try:
        return kind(**given)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"{before}{error}") from error


def number_of(kind: type, text: str) -> Any:
    """The bool, int or float that a text of the command line is; the text itself where it is none."""
    if kind is bool:
        return _BOOLEANS.get(text.lower(), text)
    try:
        return kind(text.replace(".nan", "nan").replace(".inf", "inf")) if kind in (int, float) else text
    except (ValueError, OverflowError):
        return text


def from_plain(
    kind: type[T], values: Any, path: Path, name: str = "", remedy: str = "copy it again, or upgrade"
) -> T:
    """As `build`, of a file; absent fields take their defaults."""
    try:
        return build(kind, values, str(path), name)
    except UserError as error:
        raise UserError(f"{error}; the file is damaged, or of another version of xfm: {remedy}") from error


def variant(kind: Any, values: Any) -> Any:
    """The dataclass of a union that has every key of a mapping, else the first; other types unchanged."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    parts = [part for part in get_args(kind) if part is not type(None)]
    members = [part for part in parts if is_dataclass(part)]
    if not members:
        return parts[0] if len(parts) == 1 else kind
    if type(values) in members:
        return type(values)
    keys = set(values) if isinstance(values, Mapping) else set()
    return next((part for part in members if keys <= {f.name for f in fields(part)}), members[0])


def default_of(one: Field[Any]) -> Any:
    """The default of a dataclass's field; MISSING where it has none."""
    return one.default if one.default_factory is MISSING else one.default_factory()


def _words(kind: Any) -> list[str]:
    return [str(one.value) for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []


def member_of(kind: type[E], word: object) -> E:
    """The member of an enumeration by its value; a ValueError names those that exist."""
    try:
        return kind(word)
    except ValueError:
        near = suggest(str(word)[:100], _words(kind), "")
        raise ValueError(
            f"{excerpt(repr(word))} is none of {', '.join(_words(kind))}{near and f'; {near}'}"
        ) from None


def settle_members(config: object, place: str = "") -> None:
    """Replace the words of enumerations by members, in place: `FinetuneConfig(preset="fast")`. For a frozen
    dataclass's `__post_init__`: a word that stays would make every `is` false."""
    for name, kind in kinds_of(type(config)).items():
        value = getattr(config, name)
        if value is None:
            continue
        if is_dataclass(kind):
            if isinstance(value, Mapping | str):
                example = f"{getattr(kind, '__name__', kind)}(...)"
                raise ValueError(f"{place}{name} is of type {type(value).__name__}: give a {example}")
            continue
        try:
            found = [member_of(kind, one) for one in (value if isinstance(value, list) else [value])]
        except ValueError as error:
            raise ValueError(f"{place}{name}: {error}") from None
        object.__setattr__(config, name, found if isinstance(value, list) else found[0])


@functools.cache
def kinds_of(kind: type) -> dict[str, Any]:
    """The enumeration or dataclass of each field that has one, alone, in a list or beside None."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        parts = get_args(hint) if get_origin(hint) not in (None, dict) else (hint,)
        own = [one for one in parts if isinstance(one, type) and (issubclass(one, Enum) or is_dataclass(one))]
        if len(own) == 1:
            found[name] = own[0]
    return found


# ---------------------------------------------------------------- ranges of numbers
MAX_BATCH = 65_536
"""Rows of a step: a larger number is a slip, and all of them would be loaded before it shows."""
MAX_SEED = 2**62
"""Seeds are added to, and torch takes none from 2**63 on."""
LARGEST = 2**63 - 1
"""Of counts and rates: a larger number fits into no tensor."""


def check_range(name: str, value: float, low: float, high: float = LARGEST) -> None:
    """Refuse, by a ValueError, a number outside [low, high]; NaN is always outside, infinity never wanted."""
    if not isinstance(value, Real):
        raise ValueError(f"{name} is {value!r}: give a number")
    if low <= value <= high:
        return
    open_ended = high == LARGEST and not LARGEST < value < math.inf
    allowed = f"at least {low:g}" if open_ended else f"from {low:g} to {high:g}"
    raise ValueError(f"{name} is {value}: choose a number {allowed}")


def refuse(faults: Mapping[str, object]) -> None:
    """Raise ValueError with the first of the messages whose fault is true."""
    for message, fault in faults.items():
        if fault:
            raise ValueError(message)


def limited(default: Any, low: float, high: float = LARGEST) -> Any:
    """A field of a dataclass with the range that `check_limits` holds it to; MISSING is no default."""
    return field(default=default, metadata={"limits": (low, high)})


def check_limits(config: Any, place: str = "") -> None:
    """`check_range` of all `limited` fields of a configuration, but of None where that is the default;
    `place` begins their names in the message."""
    for one in fields(config):
        value = getattr(config, one.name)
        if "limits" in one.metadata and not (value is one.default is None):
            check_range(f"{place}{one.name}", value, *one.metadata["limits"])


class Limited:
    """A dataclass that settles its enumerations and holds its `limited` fields to their ranges; `place`
    begins their names in messages."""

    _place = ""

    def __init_subclass__(cls, place: str = "", **more: Any) -> None:
        super().__init_subclass__(**more)
        cls._place = place or cls._place

    def __post_init__(self) -> None:
        settle_members(self, self._place)
        check_limits(self, self._place)
