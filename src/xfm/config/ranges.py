"""Checks of numbers in a configuration; a message names the field. Nothing here imports torch."""

import math
from collections.abc import Mapping
from dataclasses import field, fields
from numbers import Real
from typing import Any

from xfm.config.typed import settle_members

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
