"""Whether all files that say the version of xfm say the same, and that of a tag: `.ci/version.py 0.2.0`."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = {
    "pyproject.toml": r'^version = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "CHANGELOG.md": r"^## \[?(\d[\w.]*)\]?",
}


def versions(released: bool = False) -> dict[str, str]:
    """Versions by file; the changelog counts for a release alone, between two it begins with the next one's changes."""
    places = PLACES if released else {name: PLACES[name] for name in ("pyproject.toml", "CITATION.cff")}
    found = {name: re.search(pattern, (ROOT / name).read_text(), re.MULTILINE) for name, pattern in places.items()}
    return {name: match[1] if match else "none" for name, match in found.items()}


if __name__ == "__main__":
    told = {f"the tag {sys.argv[1]}": sys.argv[1]} if len(sys.argv) > 1 else {}
    told |= versions(released=bool(told))
    if len(set(told.values())) > 1:
        sys.exit("versions differ: " + ", ".join(f"{place} says {version}" for place, version in told.items()))
    print(*set(told.values()))
