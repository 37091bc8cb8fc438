"""Members of enumerations by their words, and parts by their type. Nothing here imports torch."""

import functools
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from xfm.errors import suggest

E = TypeVar("E", bound=Enum)


def member_of(kind: type[E], word: object) -> E:
    """The member of an enumeration that has a value, or a name: jsonargparse writes defaults of items so.

    Raises:
        ValueError: none has; names those that there are, and the nearest.
    """
    try:
        return kind.__members__[word] if isinstance(word, str) and word in kind.__members__ else kind(word)
    except ValueError:
        known = [str(one.value) for one in kind]
        near = suggest(str(word)[:100], known, "")
        raise ValueError(f"{word!r} is none of {', '.join(known)}{near and f'; {near}'}") from None


def settle_members(config: object, place: str = "") -> None:
    """Put the members where a program gave their words, in place: `FinetuneConfig(preset="fast")`.

    Every `is` of the code behind would be false for a word, and nothing would say so.

    Args:
        config: a frozen dataclass, in its `__post_init__`.
        place: begins the names of its fields in messages.

    Raises:
        ValueError: an enumeration has no such member, or a part is something else than its dataclass.
    """
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
            found = (
                [member_of(kind, one) for one in value] if isinstance(value, list) else member_of(kind, value)
            )
        except ValueError as error:
            raise ValueError(f"{place}{name}: {error}") from None
        object.__setattr__(config, name, found)


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
