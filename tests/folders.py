"""What lies in a folder, for tests of what must stay as it is."""

import json
from pathlib import Path

from xfm.data.skipped import BAD_FILE


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def bad_rows(folder: Path) -> dict[str, str]:
    """Why rows were left out, by place; empty where none was."""
    path = folder / BAD_FILE
    lines = path.read_bytes().decode().split("\n") if path.exists() else []
    rows = [json.loads(line) for line in lines if line]
    return {row["place"]: row["error"] for row in rows if "place" in row}
