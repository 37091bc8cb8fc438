"""Which pictures lie in a folder, and what else does."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfm.core.errors import printable
from xfm.data.images import PICTURE_SUFFIXES

HIDDEN, LINKS, CLOSED = "hidden", "linked", "not to be opened"
OUTSIDE, EMPTY = "outside the folders of classes", "without pictures"
_SHOWN = 3
_FREQUENT = (".jpg", ".JPEG", ".jpeg", ".png")  # compared first
_USUAL = (*_FREQUENT, *sorted({one for name in PICTURE_SUFFIXES for one in (name, name.upper())}))


@dataclass(frozen=True)
class FolderReport:
    """Files that a reader passed over: `passed` names by kind (a suffix, or one of the above), and how many
    images lie `nested` below a class's folder and count as of that class."""

    folder: str
    passed: Mapping[str, Sequence[str]]
    nested: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.passed or self.nested)

    @property
    def sentence(self) -> str:
        """Counted by kind, with the first few names."""
        kinds = [f"{len(names):,} {kind} ({_first(names)})" for kind, names in self.passed.items()]
        says = f"left out {', '.join(kinds)}" if kinds else ""
        if self.nested:
            count = f"{len(self.nested):,} in folders below those of the classes"
            says += ("; " if says else "") + f"{count} count as of the class ({_first(self.nested)})"
        return printable(f"{self.folder}: {says or 'nothing is left out'}")

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        kinds = {**self.passed, **({"nested": self.nested} if self.nested else {})}
        counts = {kind: {"count": len(names), "first": list(names[:_SHOWN])} for kind, names in kinds.items()}
        return {"folder": self.folder, "kinds": counts, "says": self.sentence}


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


@dataclass
class Scan:
    """Files of a folder tree, linked folders excepted: `pictures` by path, other names by kind."""

    pictures: list[str] = field(default_factory=list)
    passed: dict[str, list[str]] = field(default_factory=dict)

    def pass_over(self, kind: str, name: str) -> None:
        """Note a name that is not read; what xfm itself has put there is no news."""
        if not os.path.basename(name.rstrip("/")).startswith(".xfm-"):
            self.passed.setdefault(kind, []).append(name)

    def report(self, folder: Path, nested: Sequence[str] = ()) -> FolderReport:
        """What was passed over, in a fixed order."""
        passed = {kind: sorted(self.passed[kind]) for kind in sorted(self.passed)}
        return FolderReport(str(folder), passed, nested)


def scan_folder(folder: Path) -> Scan:
    """Look through a folder; what is hidden, and links to folders, are not followed."""
    found, waiting = Scan(), [""]
    while waiting:
        below = waiting.pop()  # ends with a slash, but for the folder itself
        try:
            with os.scandir(os.path.join(folder, below)) as entries:
                listed = list(entries)
        except OSError:
            found.pass_over(CLOSED, below or "./")
            continue
        for entry in listed:  # of which there may be a million: nothing is asked twice
            name = entry.name
            shown = below + name if below else name
            try:
                plain = entry.is_file(follow_symlinks=False)
            except OSError:
                plain = False
            if plain and name.endswith(_USUAL) and name[0] != ".":
                found.pictures.append(shown)
            elif _is_folder(entry):
                if name.startswith("."):
                    found.pass_over(HIDDEN, f"{shown}/")
                elif entry.is_symlink():
                    found.pass_over(LINKS, f"{shown}/")
                else:
                    waiting.append(f"{shown}/")
            elif name.startswith("."):
                found.pass_over(HIDDEN, shown)
            elif (suffix := os.path.splitext(name)[1].lower()) in PICTURE_SUFFIXES:
                found.pictures.append(shown)
            else:
                found.pass_over(suffix or "without a suffix", shown)
    found.pictures.sort()
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def scan_classes(folder: Path) -> tuple[dict[str, list[str]], FolderReport]:
    """Images by class of a folder with a folder a class, by path, and a report; raises OSError."""
    whole, classes, nested = Scan(), {}, []
    for place in sorted(folder.iterdir()):
        if place.name.startswith("."):
            whole.pass_over(HIDDEN, f"{place.name}/" if place.is_dir() else place.name)
        elif not place.is_dir():
            whole.pass_over(OUTSIDE, place.name)
        else:
            own = scan_folder(place)
            for kind, names in own.passed.items():
                for name in names:
                    whole.pass_over(kind, f"{place.name}/{name}")
            if own.pictures:
                below = [name for name in own.pictures if os.sep in name]
                ordered = sorted(own.pictures, key=lambda name: name.split(os.sep)) if below else own.pictures
                classes[place.name] = ordered
                nested += [f"{place.name}/{name}" for name in ordered if os.sep in name] if below else []
            else:
                whole.pass_over(EMPTY, f"{place.name}/")
    return classes, whole.report(folder, nested)
