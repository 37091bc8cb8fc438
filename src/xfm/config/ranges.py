"""Checks of numbers in a configuration; a message names the field. Nothing here imports torch."""

import math

MAX_BATCH = 65_536
"""Rows of a step: a larger number is a slip, and all of them would be loaded before it shows."""
MAX_SEED = 2**62
"""Seeds are added to, and torch takes none from 2**63 on."""


def check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse a number that does not lie in [low, high]; NaN never does, infinity is never wanted.

    Raises:
        ValueError: names the field and what it may be.
    """
    if low <= value <= high and value < math.inf:
        return
    allowed = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
    raise ValueError(f"{name} is {value}: choose a number {allowed}")
