"""Packaged models: a folder each beside this file, found by name."""

from pathlib import Path

_HOME = Path(__file__).resolve().parent
DEFAULT = "small"
"""The one that is asked where nobody names a model."""


def boxed_names() -> tuple[str, ...]:
    """Names of the packaged models."""
    return tuple(sorted(path.parent.name for path in _HOME.glob("*/config.json")))


def boxed_model(name: Path | str) -> Path | None:
    """Folder of a packaged model; None for other names."""
    return _HOME / name if str(name) in boxed_names() else None


def is_boxed(path: Path) -> bool:
    """Whether a path lies among the packaged models, where no command writes."""
    return path.resolve().is_relative_to(_HOME)
