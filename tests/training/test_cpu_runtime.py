"""Settings of the process change its speed only."""

import json
import os
import subprocess
import sys

import pytest

from xfm.training import cpu_runtime
from xfm.training.cpu_runtime import KERNEL_CACHE, keep_freed_memory, prepare_process


def test_the_cache_is_set_where_it_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNEL_CACHE, "")  # so that what the test sets is taken back
    monkeypatch.delenv(KERNEL_CACHE)
    asked = []
    monkeypatch.setattr(cpu_runtime, "keep_freed_memory", lambda: asked.append(True))
    before = dict(os.environ)
    prepare_process()
    assert int(os.environ[KERNEL_CACHE]) > 1024  # oneDNN's own
    assert {name: value for name, value in os.environ.items() if name != KERNEL_CACHE} == before
    assert asked == [True]


@pytest.mark.parametrize("value", ["7", "0", ""])
def test_a_capacity_that_is_set_stays(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(KERNEL_CACHE, value)
    prepare_process()
    assert os.environ[KERNEL_CACHE] == value


@pytest.mark.parametrize(
    ("platform", "library"),
    [
        ("darwin", lambda name: pytest.fail("no C library should be opened")),
        ("linux", lambda name: object()),  # one without the setting
    ],
)
def test_other_systems_are_left_alone(platform, library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(cpu_runtime.ctypes, "CDLL", library)
    assert keep_freed_memory() is False


PROGRAM = """
import ctypes, json, os, sys
from xfm.training.cpu_runtime import keep_freed_memory
is_glibc = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
answers = [keep_freed_memory(), keep_freed_memory()]
blocks = [bytearray(os.urandom(1 << 12) * 1024) for _ in range(8)]
sums = [sum(block[:4096]) == sum(block[-4096:]) for block in blocks]
del blocks
print(json.dumps([is_glibc, answers, sums, "torch" in sys.modules]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_it_is_harmless() -> None:
    """In a process of its own: the setting cannot be taken back."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    is_glibc, answers, sums, has_torch = json.loads(done.stdout)
    assert answers == [is_glibc, is_glibc]
    assert sums == [True] * 8
    assert not has_torch
