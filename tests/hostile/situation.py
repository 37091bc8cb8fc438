"""What a situation is, and what may lie in its folder."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.hostile.running import Running

Content = bytes | str | Callable[[Path], object]
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
        quick: whether `make test` runs it too.
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
    during: "Callable[[Running], None] | None" = None
    changes: tuple[str, ...] = ()
    seconds: float = 120.0
    quick: bool = False
    unshare: bool = False
    words: tuple[str, ...] | None = None
    silent: bool = False

    def arguments(self, names: Mapping[str, str]) -> list[str]:
        """The words after `xfm`."""
        words = self.words if self.words is not None else self.command.split()
        return [filled(word, names) for word in words]

    def place(self, here: Path, names: Mapping[str, str]) -> None:
        """Make the files; folders above them are made, too."""
        for name, content in self.files.items():
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            elif isinstance(content, str):
                path.write_text(filled(content, names), encoding="utf-8")
            else:
                path.write_bytes(content)


def filled(text: str, names: Mapping[str, str]) -> str:
    """The text with `{name}` replaced; other braces stay."""
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text


# ---------------------------------------------------------------- what is no file
def fifo(path: Path) -> None:
    """A pipe that nobody writes to: whoever opens it waits."""
    os.mkfifo(path)


def folder(path: Path) -> None:
    """A folder where a file is expected."""
    path.mkdir()


def link(target: str) -> Callable[[Path], None]:
    """A symbolic link to a device, to itself, or to nothing."""
    return lambda path: path.symlink_to(target)


ENDLESS, DANGLING = link("/dev/zero"), link("nowhere")


def loop(path: Path) -> None:
    """A link to itself."""
    path.symlink_to(path.name)


def sparse(size: int, start: bytes = b"") -> Callable[[Path], None]:
    """A file that claims `size` bytes and takes no room on the disk."""

    def make(path: Path) -> None:
        with path.open("wb") as stream:
            stream.write(start)
            stream.truncate(size)

    return make
