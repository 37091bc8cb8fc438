"""Constraints for pip: the lowest versions that pyproject.toml asks for, but of packages named behind it."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
lowest: dict[str, tuple[int, ...]] = {}
for group in (project["dependencies"], *project["optional-dependencies"].values()):
    for one in group:
        if found := re.match(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)", one):
            version = tuple(int(part) for part in found[2].split("."))
            lowest[found[1]] = max(version, lowest.get(found[1], version))
for name in sorted(lowest.keys() - set(sys.argv[2:])):
    print(f"{name}=={'.'.join(map(str, lowest[name]))}")
