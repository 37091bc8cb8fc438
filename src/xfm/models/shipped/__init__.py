"""Packaged models: a folder each beside this file, found by name."""

from pathlib import Path

HOME = Path(__file__).resolve().parent
"""Where they lie, and no command writes."""
DEFAULT = "small"
"""The one that is asked where nobody names a model."""


def boxed_names() -> tuple[str, ...]:
    """Names of the packaged models."""
    return tuple(sorted(path.parent.name for path in HOME.glob("*/config.json")))


def boxed_model(name: Path | str) -> Path | None:
    """Folder of a packaged model; None for other names."""
    return HOME / name if str(name) in boxed_names() else None
