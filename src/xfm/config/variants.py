"""Fields that are one of several dataclasses, such as the native encoder or one of another library.

Which one a mapping means is seen from its keys. Options are generated per field of a dataclass, so a parser
is given a stand-in in which every such field has the one type that the recipe chose.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass, make_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from xfm.config.plain import to_plain


def variant(kind: Any, values: Any) -> Any:
    """The dataclass of a union that has every key of a mapping as a field; the first one if none has.

    Args:
        kind: a union of dataclasses; anything else is returned as it is.
        values: the plain value.
    """
    members = [part for part in get_args(kind) if isinstance(part, type) and is_dataclass(part)]
    if not members or get_origin(kind) not in (Union, UnionType):
        return kind
    keys = set(values) if isinstance(values, Mapping) else set()
    return next((part for part in members if keys <= {f.name for f in fields(part)}), members[0])


def chosen_variants(kind: type, values: Mapping[str, Any]) -> type:
    """The dataclass with each union of dataclasses replaced by the one that `values` mean.

    Returns:
        `kind` itself if it has no such field, else a stand-in with the same fields, whose instances
        `original` turns back.
    """
    types = get_type_hints(kind)
    absent = {f.name for f in fields(kind) if f.default is None}  # unless a dataclass is given
    chosen: dict[str, Any] = {}
    for name, hint in types.items():
        below = values.get(name)
        below = below if isinstance(below, Mapping) else {}
        narrow = hint if name in absent else variant(hint, below)
        is_kind = isinstance(narrow, type) and is_dataclass(narrow)
        chosen[name] = chosen_variants(narrow, below) if is_kind else narrow
    if chosen == types:
        return kind
    shape = make_dataclass(
        kind.__name__,
        [(f.name, chosen[f.name], _default(f, chosen[f.name])) for f in fields(kind)],
        frozen=True,
        kw_only=True,
    )
    shape.__doc__, shape.stands_for = kind.__doc__, kind  # pyright: ignore[reportAttributeAccessIssue]
    return shape


def plain_defaults(kind: type) -> dict[str, Any]:
    """The defaults of a dataclass or stand-in as plain values; fields without one are left out."""
    if not hasattr(kind, "stands_for"):
        return {} if _has_required(kind) else to_plain(kind())
    types = get_type_hints(kind)
    found: dict[str, Any] = {}
    for f in fields(kind):
        if hasattr(types[f.name], "stands_for"):
            found[f.name] = plain_defaults(types[f.name])
        elif f.default is not MISSING:
            found[f.name] = to_plain(f.default)
        elif f.default_factory is not MISSING:
            found[f.name] = to_plain(f.default_factory())
    return found


def original(value: Any) -> Any:
    """The value with every stand-in replaced by an instance of what it stands for."""
    kind = getattr(type(value), "stands_for", None)
    if kind is None:
        return value
    return kind(**{f.name: original(getattr(value, f.name)) for f in fields(kind) if f.init})


def _has_required(kind: Any) -> bool:
    return any(f.default is MISSING and f.default_factory is MISSING for f in fields(kind) if f.init)


def _default(f: Field[Any], kind: Any) -> Any:
    """The field's own default, unless it is of another variant than the one chosen."""
    if f.default is not MISSING:
        return field(default=f.default)
    if f.default_factory is MISSING:
        return field()
    if hasattr(kind, "stands_for"):
        return field() if _has_required(kind) else field(default_factory=kind)
    same = type(f.default_factory()) is kind or not is_dataclass(kind)
    return field(default_factory=f.default_factory) if same else field()
