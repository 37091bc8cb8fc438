"""Every damaged file is read or refused: some of each kind here, 200,000 with `make fuzz`."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.alike import some, thorough
from tests.fuzz import __main__ as fuzz
from tests.fuzz.all import TARGETS, of_family
from tests.fuzz.faulty import VALID, faulty
from tests.fuzz.running import Reading, findings_in, shares, shrunk
from tests.fuzz.target import Family
from tests.processes import run

INPUTS = int(os.environ.get("XFM_FUZZ", "10"))
"""Of each family."""
FAULTY = [sys.executable, "-m", "tests.fuzz.faulty"]


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    """In a process of its own, which an input may end."""
    counts = {name: count for one in Family for name, count in shares(of_family(one), INPUTS).items()}
    wanted = {name: (1, count + 1) for name, count in counts.items()}
    command = [sys.executable, "-m", "tests.fuzz", "--read", json.dumps(wanted), str(tmp_path)]
    ended = run(command, 240 + INPUTS)
    last = (tmp_path / "state").read_text().strip()
    assert (ended.status, last) == (0, "done"), f"at {last}: {ended.err[-3000:]}"
    assert [(one.target, one.number, one.kind, one.detail) for one in findings_in(ended.out)] == []


def test_what_is_found_is_made_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(TARGETS, "own", faulty("raises"))
    reading = Reading("own", tmp_path / "files")
    assert reading.outcome(b"fine") is None
    assert reading.outcome(b"refused") is None
    found = reading.outcome(b"some bad thing")
    assert found is not None
    assert found[0] == "KeyError"
    assert shrunk(reading, b"some bad thing" * 9, "KeyError") == b"bad"


@pytest.mark.parametrize(
    ("kind", "status", "told"),
    some(
        [
            ("dies", -signal.SIGSEGV, ""),
            ("spins", -signal.SIGPROF, ""),
            ("sleeps", -signal.SIGALRM, ""),
            ("takes_all", 0, "MemoryError"),
            ("takes_much", 0, "takes much memory"),
        ],
        5,
    ),
)
def test_what_hangs_dies_or_takes_all_memory_is_found(
    kind: str, status: int, told: str, tmp_path: Path
) -> None:
    """The process ends, and what it had under its hands is known; or it says so and goes on."""
    ended = run([*FAULTY, kind, str(tmp_path)], 120)
    assert ended.status == status, ended.err[-2000:]
    if status:
        assert (tmp_path / "state").read_text().strip() == "own 1"
        assert f"_{kind}" in ended.err  # the stack
        assert (tmp_path / "own" / "a").read_bytes() != VALID
    else:
        assert [one.kind for one in findings_in(ended.out)] == [told]


@thorough
def test_behind_an_input_that_ends_the_process_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was under way is kept with its file."""
    monkeypatch.setattr(fuzz, "command_of", lambda wanted, work, guided: [*FAULTY, "dies", work])
    monkeypatch.setitem(TARGETS, "own", faulty("dies"))
    found = fuzz.read_in_processes({"own": (1, 2)})
    assert [(one.target, one.number, one.kind) for one in found] == [("own", 1, "ended with -11")]
    assert found[0].data != VALID
    assert "Segmentation" in found[0].detail


def test_coverage_may_choose_the_inputs() -> None:
    """libFuzzer changes those that reach new lines."""
    pytest.importorskip("atheris")
    assert fuzz.read_in_processes({"configurations/safetensors": (1, 400)}, guided=True) == []
