"""Whether all files that say the version of xfm say the same, and that of a tag: `.ci/version.py 0.2.0`."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = {"pyproject.toml": r'^version = "(.+)"$', "CITATION.cff": r"^version: (.+)$"}

told = {
    name: re.findall(pattern, (ROOT / name).read_text(), re.MULTILINE)[0] for name, pattern in PLACES.items()
}
if len(sys.argv) > 1:
    told |= {f"the tag {sys.argv[1]}": sys.argv[1]}
    if f"## {sys.argv[1]}" not in (ROOT / "CHANGELOG.md").read_text():
        sys.exit(f"CHANGELOG.md has no section ## {sys.argv[1]}")
if len(set(told.values())) > 1:
    sys.exit("versions differ: " + ", ".join(f"{place} says {one}" for place, one in told.items()))
print(*set(told.values()))
