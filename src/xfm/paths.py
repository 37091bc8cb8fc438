"""Paths as people write them (`~` is the home folder, `./~` a file of that name), and the user's cache."""

import os
from pathlib import Path


def home_path(path: Path | str) -> Path:
    """The path with a leading `~` or `~NAME` as the home folder; without such a user it stays as it is."""
    return Path(at_home(str(path)))


def at_home(path: str) -> str:
    """The same for a text that may also be something else than a path, such as a name on the hub."""
    return os.path.expanduser(path) if path.startswith("~") else path


def is_url(text: str) -> bool:
    """Whether a text is an address, of whatever scheme, and not a path."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.isascii() and scheme.replace("+", "").isalnum()


def cache_folder() -> Path:
    """Where what can be made again is kept: `XFM_CACHE`, or `xfm` in the user's cache folder."""
    if own := os.environ.get("XFM_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "xfm"
