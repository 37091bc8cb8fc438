"""Which pictures lie in a folder, and what else does."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from xfm.core.errors import printable
from xfm.data.images import PICTURE_SUFFIXES, RAW_NEEDS, RAW_SUFFIXES

HIDDEN, LINKS, CLOSED = "hidden", "linked", "not to be opened"
OUTSIDE, EMPTY = "outside the folders of classes", "without pictures"
_SHOWN = 3


def passed_over(folder: Path | str, passed: Mapping[str, Sequence[str]]) -> str:
    """What a reader of a folder passed over, counted by kind with the first few names; empty for nothing."""
    kinds = []
    for kind, names in sorted(passed.items()):
        first = ", ".join(sorted(names)[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        kinds.append(f"{len(names):,} {kind} ({first})")
    needs = f"; {RAW_NEEDS}" if RAW_SUFFIXES & passed.keys() else ""
    return printable(f"{folder}: left out {', '.join(kinds)}{needs}") if kinds else ""


def _pass_over(passed: dict[str, list[str]], kind: str, name: str) -> None:
    if not os.path.basename(name.rstrip("/")).startswith(".xfm-"):  # what xfm itself has put there is no news
        passed.setdefault(kind, []).append(name)


def scan_folder(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The images of a folder tree by path, and other names by kind, a suffix or one of the above."""
    pictures, passed, waiting = list[str](), dict[str, list[str]](), [""]
    while waiting:
        below = waiting.pop()  # ends with a slash, but for the folder itself
        try:
            with os.scandir(os.path.join(folder, below)) as entries:
                listed = list(entries)
        except OSError:
            _pass_over(passed, CLOSED, below or "./")
            continue
        for entry in listed:  # of which there may be a million: nothing is asked twice
            name, shown = entry.name, below + entry.name
            try:
                shown += "/" if (is_folder := entry.is_dir()) else ""
            except OSError:
                is_folder = False
            if name.startswith("."):
                _pass_over(passed, HIDDEN, shown)
            elif is_folder and entry.is_symlink():
                _pass_over(passed, LINKS, shown)
            elif is_folder:
                waiting.append(shown)
            elif (suffix := os.path.splitext(name)[1].lower()) in PICTURE_SUFFIXES:
                pictures.append(shown)
            else:
                _pass_over(passed, suffix or "without a suffix", shown)
    pictures.sort()
    return pictures, passed


def scan_classes(folder: Path) -> tuple[dict[str, list[str]], str]:
    """Images by class of a folder with a folder a class, and a sentence on the rest; raises OSError."""
    passed, classes, nested = dict[str, list[str]](), {}, 0
    for place in sorted(folder.iterdir()):
        if place.name.startswith("."):
            _pass_over(passed, HIDDEN, f"{place.name}/" if place.is_dir() else place.name)
        elif not place.is_dir():
            _pass_over(passed, OUTSIDE, place.name)
        else:
            pictures, own = scan_folder(place)
            for kind, names in own.items():
                for name in names:
                    _pass_over(passed, kind, f"{place.name}/{name}")
            if pictures:
                classes[place.name] = sorted(pictures, key=lambda name: name.split(os.sep))
                nested += sum(os.sep in name for name in pictures)
            else:
                _pass_over(passed, EMPTY, f"{place.name}/")
    deep = f"{nested:,} in folders below those of the classes count as of the class" if nested else ""
    return classes, "; ".join(filter(None, (passed_over(folder, passed), deep)))
