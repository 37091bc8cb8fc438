"""What must hold at the end of every situation."""

import hashlib
import os
import re
import stat
from pathlib import Path

from tests.hostile.running import MEMORY, Ending
from tests.hostile.situation import Situation

_LARGE = 64 << 20
_DRAFT = re.compile(r"\.partial|\.tmp$|\.old-\d+$")
RESULTS = ("metrics.json", "report.html", "scores.json", "task.json")
"""Files that say that something has been finished."""
CANARY = "hacked"
"""Name of the file that hostile code would make."""
_EXPECTED = frozenset({0, 1, 2, 130})


def snapshot(folder: Path) -> dict[str, str]:
    """What lies in a folder, by path: digests of files, targets of links, kinds of everything else."""
    found: dict[str, str] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            found[path.relative_to(folder).as_posix()] = _look(path)
    return found


def _look(path: Path) -> str:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"link to {path.readlink()}"
    if not stat.S_ISREG(status.st_mode):
        return f"kind {stat.S_IFMT(status.st_mode)}"
    if status.st_size > _LARGE:
        return f"{status.st_size} bytes"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def faults(situation: Situation, ending: Ending, before: dict[str, str], after: dict[str, str]) -> list[str]:
    found = [ending.why] if ending.why else []
    if "Traceback (most recent" in ending.output:
        found.append("a traceback")
    if "internal error" in ending.output:
        found.append("an error that nobody can act on")
    if not ending.why and ending.status not in situation.status:
        found.append(f"status {ending.status} in place of {' or '.join(map(str, situation.status))}")
    if ending.peak > MEMORY:
        found.append(f"{ending.peak >> 20} MiB of memory")
    if not situation.silent:
        said = ending.output.replace("\n", " ").replace("_", "-")  # both are in use for options
        missing = [text for text in situation.says if text.replace("_", "-") not in said]
        found += [f"the output does not name {text!r}" for text in missing]
    found += [f"left behind: {one}" for one in ending.left]
    return found + _losses(situation, ending, before, after)


def _losses(situation: Situation, ending: Ending, before: dict[str, str], after: dict[str, str]) -> list[str]:
    found = []
    for path, content in before.items():
        if after.get(path) != content and not path.startswith(situation.changes or "\0"):
            found.append(f"{path} is {'gone' if path not in after else 'another'}")
    for path in after.keys() - before.keys():
        if path.rsplit("/", 1)[-1] == CANARY:
            found.append("code from a file was run")
        if _DRAFT.search(path) and ending.status in _EXPECTED:
            found.append(f"{path} is left half-written")
        if (
            ending.status == 2
            and path.rsplit("/", 1)[-1] in RESULTS
            and not path.startswith(situation.changes or "\0")
        ):
            found.append(f"{path} was written by a command that failed")
    return found
