"""What tests of pipelines and of `xfm predict` write, run and compare."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.inference.models import pictures
from xfm.inference.base import Pipeline
from xfm.models.folder import Pretrained

Models = dict[str | None, Pretrained]
Folders = dict[str | None, Path]
Pipe = Pipeline


@dataclass(frozen=True)
class Said:
    """What a command ended with."""

    status: int
    out: str
    error: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What a program reads from standard output, where all went well."""
        assert self.status == 0, self.error
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def refusal(self) -> str:
        """The one line of a command that was refused."""
        assert self.status == 2, self.out
        (line,) = self.error.strip().splitlines()
        return line


Command = Callable[..., Said]


def close(first: Any, second: Any) -> None:
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)


def same(first: Any, second: Any, place: str = "", near: float = 1e-5, relative: float = 0) -> None:
    """Equal in shape and words, numbers within 1e-5, those of boxes within 1e-5 of a side of 100 pixels."""
    if isinstance(first, dict):
        assert first.keys() == second.keys(), place
        for key in first:
            same(first[key], second[key], f"{place}.{key}", near, relative)
    elif isinstance(first, list):
        assert len(first) == len(second), place
        for row, (one, other) in enumerate(zip(first, second, strict=True)):
            same(one, other, f"{place}[{row}]", near, relative)
    elif isinstance(first, float | np.ndarray):
        near = 100 * near if ".box" in place else near
        np.testing.assert_allclose(first, second, rtol=relative, atol=near, err_msg=place)
    else:
        assert first == second, place


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def photos(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.png" for number in range(count)]
    for name, picture in zip(names, pictures(count), strict=True):
        picture.save(folder / name)
    return names
