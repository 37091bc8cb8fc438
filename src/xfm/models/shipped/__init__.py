"""Models that come with the package: a folder each, beside this file, found by its name."""

from pathlib import Path

_HOME = Path(__file__).resolve().parent
DEFAULT = "small"
"""The one that is asked where nobody names a model."""


def boxed_names() -> tuple[str, ...]:
    """The names by which the models of the package are loaded."""
    return tuple(sorted(path.parent.name for path in _HOME.glob("*/config.json")))


def boxed_model(name: Path | str) -> Path | None:
    """The model folder of a name; None where no model of the package is called so."""
    return _HOME / name if str(name) in boxed_names() else None


def is_boxed(path: Path) -> bool:
    """Whether a path lies among the models of the package, where no command writes."""
    return path.resolve().is_relative_to(_HOME)
