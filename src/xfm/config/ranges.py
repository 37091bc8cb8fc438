"""Checks of numbers in a configuration; a message names the field. Nothing here imports torch."""

import math
from collections.abc import Iterable
from numbers import Real

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


def check_ranges(
    config: object, names: Iterable[str], low: float, high: float = LARGEST, place: str = ""
) -> None:
    """`check_range` of several fields of a configuration, whose names `place` begins in the message."""
    for name in names:
        check_range(f"{place}{name}", getattr(config, name), low, high)
