"""Numbers as people read them."""


def percent(value: float | None, digits: int = 1) -> str:
    """0.1234 -> 12.3 %, and None -> -."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def rough(value: float | None) -> str:
    """0.2081 -> 21 %, 0.001 -> 0.1 %, and None -> not defined."""
    return "not defined" if value is None else percent(value, 0 if value >= 0.1 else 1)


def points(value: float) -> str:
    """0.1234 -> +12.3, and 0.0 without a sign."""
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def readable_seconds(seconds: float) -> str:
    """75.2 -> 1 min 15 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
