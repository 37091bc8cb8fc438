"""Failures of the disk, code in files, and what refusals say, for tests of what reads and writes files."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xfm.core.errors import UserError


class Trap:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def refusal(place: Path, function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(UserError) as found:
        function(*arguments)
    assert str(place) in str(found.value)
    assert "\n" not in str(found.value)
    return str(found.value)


def sentence_of(function: Callable[..., Any], *arguments: Any) -> str | None:
    try:
        function(*arguments)
    except UserError as error:
        return str(error)
    return None


def fail_rename(monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """Let the `failing`-th call of `os.replace` from now on, counted from 1, end with an error."""
    rename, calls = os.replace, 0

    def sometimes(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "replace", sometimes)
