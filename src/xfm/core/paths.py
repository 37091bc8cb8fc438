"""Paths as people write them (`~` is the home folder, `./~` a file of that name), and the user's cache."""

import os
import re
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


SECRET = (
    "an address with a password or a query is not read, as it would stand in logs and results: give keys by "
    "the environment, passwords by ~/.netrc"
)
"""Why an address of which `holds_secret` is true is refused; the address itself is not to be shown."""
_ASKED = re.compile(r"\?[^/]*=|^[^@]*:[^@]*@")  # a query, and not a pattern; a user with a password


def holds_secret(address: str) -> bool:
    """Whether an address may hold what no file and no message should: a password, or a signed query."""
    if not is_url(address):
        return False
    scheme, _, rest = address.partition("://")
    if scheme.lower().startswith("http"):
        return not {*"?#@"}.isdisjoint(rest)
    return "@" in rest.partition("/")[0] or _ASKED.search(rest) is not None


def cache_folder() -> Path:
    """Where what can be made again is kept: `XFM_CACHE`, or `xfm` in the user's cache folder."""
    if own := os.environ.get("XFM_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "xfm"
