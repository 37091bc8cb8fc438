"""Constraints for pip: the lowest version of everything that pyproject.toml asks for, but of what is named behind it."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
lowest: dict[str, tuple[int, ...]] = {}
for one in asked:
    if found := re.match(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)", one):
        version = tuple(int(part) for part in found[2].split("."))
        lowest[found[1]] = max(version, lowest.get(found[1], version))
for name, version in sorted(lowest.items() - {(name, lowest[name]) for name in sys.argv[2:]}):
    print(f"{name}=={'.'.join(map(str, version))}")
