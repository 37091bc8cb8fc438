"""Failures of the disk, for tests of what writes files."""

import errno
import os
from pathlib import Path

import pytest


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
