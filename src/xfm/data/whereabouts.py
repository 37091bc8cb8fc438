"""What this process reads just now, for messages about records that hang."""

from collections.abc import Callable

_told: Callable[[str], None] | None = None


def tell(receiver: Callable[[str], None] | None) -> None:
    """From now on, say to `receiver` what is read; None says it to nobody."""
    global _told
    _told = receiver


def at(what: object) -> None:
    """Say what is read now."""
    if _told is not None:
        _told(str(what))
