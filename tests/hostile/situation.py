"""What a situation is, and what may lie in its folder."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.hostile.running import Watched

Names = Mapping[str, str]
"""Paths of what is ready-made, by name."""
Make = Callable[[Path, Names], object]
Content = bytes | str | Make
"""Content of a file, or what makes it at a path (a FIFO, a folder, a damaged copy)."""


@dataclass(frozen=True)
class Situation:
    """A command under bad conditions. In texts, `{ready}`, `{model}`, `{world}`, ... are the ready-made ones.

    Attributes:
        name: what happens, in lower case with hyphens.
        command: the command line after `xfm`, split at spaces; `{space}` stands for a space in a word.
        files: by path in the situation's folder, in which the command runs.
        says: what the output must name.
        status: statuses that are right. Those that a shell shows as 128 + N are -N here.
        env: variables that differ; None takes one away.
        shell: runs the command as `"$@"` under other conditions, in a shell of its own.
        during: acts on the running command, such as by a signal.
        changes: beginnings of paths in the folder that the command may change; others must stay.
        seconds: until it must have ended.
        unshare: whether `shell` needs name spaces of its own, which only root has.
        words: the command line as words, where splitting at spaces is not enough.
        silent: the output is closed or thrown away: nothing can be required of it.
    """

    name: str
    command: str
    files: Mapping[str, Content] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    status: tuple[int, ...] = (2,)
    env: Mapping[str, str | None] = field(default_factory=dict)
    shell: str | None = None
    during: "Callable[[Watched], None] | None" = None
    changes: tuple[str, ...] = ()
    seconds: float = 120.0
    unshare: bool = False
    words: tuple[str, ...] | None = None
    silent: bool = False

    def arguments(self, names: Names) -> list[str]:
        """The words after `xfm`."""
        words = self.words if self.words is not None else self.command.split()
        return [filled(word, names) for word in words]

    def place(self, here: Path, names: Names) -> None:
        """Make the files; folders above them are made, too."""
        for name, content in self.files.items():
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, content, names)


def write(path: Path, content: Content, names: Names) -> None:
    """Make one file."""
    if callable(content):
        content(path, names)
    elif isinstance(content, str):
        path.write_text(filled(content, names), encoding="utf-8")
    else:
        path.write_bytes(content)


def filled(text: str, names: Names) -> str:
    """The text with `{name}` replaced; other braces stay."""
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text


# ---------------------------------------------------------------- what is no file
def fifo(path: Path, names: Names) -> None:
    """A pipe that nobody writes to: whoever opens it waits."""
    os.mkfifo(path)


def folder(path: Path, names: Names) -> None:
    """A folder where a file is expected."""
    path.mkdir()


def bound(path: Path, names: Names) -> None:
    """A socket in the file system."""
    with socket.socket(socket.AF_UNIX) as one:
        where = os.getcwd()
        os.chdir(path.parent)  # the name of a socket must be short
        try:
            one.bind(path.name)
        finally:
            os.chdir(where)


def link(target: str) -> Make:
    """A symbolic link to a device, to something ready-made, or to nothing."""
    return lambda path, names: path.symlink_to(filled(target, names))


ENDLESS, DANGLING = link("/dev/zero"), link("nowhere")


def loop(path: Path, names: Names) -> None:
    """A link to itself."""
    path.symlink_to(path.name)


def sparse(size: int, start: bytes = b"") -> Make:
    """A file that claims `size` bytes and takes no room on the disk."""

    def make(path: Path, names: Names) -> None:
        with path.open("wb") as stream:
            stream.write(start)
            stream.truncate(size)

    return make


# ---------------------------------------------------------------- damaged copies
def copied(source: str, *edits: Make) -> Make:
    """A copy of something ready-made, with changes that get its path."""

    def make(path: Path, names: Names) -> None:
        whole = Path(filled(source, names))
        shutil.copytree(whole, path) if whole.is_dir() else shutil.copy(whole, path)
        for edit in edits:
            edit(path, names)

    return make


def edited(name: str, change: Callable[[Path, Names], object]) -> Make:
    """A change of a file of the copy, or of the copy where there is no name."""
    return lambda path, names: change(path / name if name else path, names)


def put(name: str, content: Content) -> Make:
    """Another file, or something that is none, in the place of a file of the copy."""

    def edit(target: Path, names: Names) -> None:
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, content, names)

    return edited(name, edit)


def drop(name: str) -> Make:
    """The copy without a file."""
    return edited(name, lambda target, names: target.unlink())


def cut(name: str, share: float = 0.5) -> Make:
    """A file of the copy (or the copy, if it is one) that ends early."""

    return edited(name, lambda target, names: os.truncate(target, int(target.stat().st_size * share)))


def flip(name: str, share: float = 0.5) -> Make:
    """A file of the copy with some bytes turned over."""

    def edit(target: Path, names: Names) -> None:
        data = bytearray(target.read_bytes())
        for place in range(int(len(data) * share), min(len(data), int(len(data) * share) + 16)):
            data[place] ^= 0xFF
        target.write_bytes(data)

    return edited(name, edit)


def change(name: str, **fields: Any) -> Make:
    """A JSON file of the copy with other values; `a__b` is the field b of a."""

    def edit(target: Path, names: Names) -> None:
        content = json.loads(target.read_text())
        for dotted, value in fields.items():
            *outer, last = dotted.split("__")
            inner = content
            for one in outer:
                inner = inner[one]
            inner[last] = value
        target.write_text(json.dumps(content))

    return edited(name, edit)
