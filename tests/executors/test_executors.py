"""Every executor does its share of the units, each once, and says what went wrong in one sentence."""

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.alike import thorough
from tests.executors.counting import SquareMark, Squares, done, squares
from tests.processes import Running
from tests.refusals import expect_refusal
from xfm.core.errors import UserError
from xfm.executors.executor import ArrayTask, LocalPool
from xfm.executors.sharded_map import find_plan


@pytest.mark.parametrize("workers", [1, 3])
def test_local_processes_do_what_is_missing(tmp_path: Path, workers: int) -> None:
    units = squares(tmp_path, 30)
    units(4)
    before = units.file(4, ".txt").stat().st_mtime_ns
    assert done(LocalPool(workers), units) == [number for number in range(30) if number != 4]
    assert units.file(4, ".txt").stat().st_mtime_ns == before
    assert [units.file(number, ".txt").read_text() for number in range(30)] == [str(n * n) for n in range(30)]
    assert [mark.number for mark in units.marks()] == [*range(30)]
    assert done(LocalPool(workers), units) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_unit_refuses_ends_the_work(tmp_path: Path, workers: int) -> None:
    units = squares(tmp_path, 100, Squares(wrong=5))
    with expect_refusal("number 5 is wrong"):
        done(LocalPool(workers), units)
    assert len(units.missing) > 50


def test_a_process_that_dies_is_said(tmp_path: Path) -> None:
    with expect_refusal("died", "--workers"):
        done(LocalPool(2), squares(tmp_path, 10, Squares(deadly=5)))


def test_a_signal_to_all_processes_leaves_the_one_that_starts_them(tmp_path: Path) -> None:
    done(LocalPool(2), squares(tmp_path / "before", 4))
    server = forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGTERM)
    time.sleep(0.2)
    assert psutil.pid_exists(server)
    assert psutil.Process(server).status() != psutil.STATUS_ZOMBIE
    assert done(LocalPool(2), squares(tmp_path / "after", 4)) == [*range(4)]


def test_a_plan_is_made_once_and_of_one_work(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(draft: Path) -> dict[str, int]:
        made.append(draft)
        return {"units": 3}

    for _ in range(2):
        assert find_plan(tmp_path, "a", make, "remove it") == {"mark": "a", "units": 3}
    assert len(made) == 1
    with expect_refusal("other settings", "remove it"):
        find_plan(tmp_path, "b", make, "remove it")
    (tmp_path / "plan" / "plan.json").write_text("[]")
    with expect_refusal("plan.json is damaged", "remove it"):
        find_plan(tmp_path, "a", make, "remove it")


WORKS = """
import sys
from pathlib import Path
from tests.executors.counting import Squares, done, squares
from xfm.executors.executor import LocalPool
try:
    done(LocalPool(2), squares(Path(sys.argv[1]), 20, Squares(slow=0)))
except KeyboardInterrupt:
    sys.exit(130)
"""


@thorough
def test_ctrl_c_is_the_parent_s_alone(tmp_path: Path) -> None:
    """Its processes have the signal, too: they say nothing, and none is left."""
    with Running([sys.executable, "-c", WORKS, str(tmp_path)]) as running:
        running.wait_until(lambda: len([*tmp_path.glob("made/*.txt")]) == 19, 600)
        running.signal(signal.SIGINT, group=True)
        ended = running.end(600)
    assert (ended.status, ended.err, ended.left) == (130, "", [])


@pytest.mark.parametrize("wrong", [None, 1])
def test_who_stops_waits_for_no_unit(tmp_path: Path, wrong: int | None) -> None:
    units, begun = squares(tmp_path, 8, Squares(slow=0, wrong=wrong)), time.monotonic()

    def stop(number: int, mark: SquareMark) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt if wrong is None else UserError):
        units.run(LocalPool(2), "squares", False, stop)
    assert time.monotonic() - begun < 60
    assert not units.is_done(0)
    assert not [one for one in multiprocessing.active_children() if one.is_alive()]
    assert 0 in done(LocalPool(2), squares(tmp_path, 8))


@given(st.integers(1, 9), st.integers(0, 40), st.sets(st.integers(0, 39)))
def test_the_tasks_of_an_array_share_the_units(count: int, total: int, made: set[int]) -> None:
    """Whatever is done already, each unit has one place."""
    numbers = [number for number in range(total) if number not in made]
    shares = [ArrayTask(f"{place}/{count}", 1).share(numbers) for place in range(count)]
    assert sorted(number for share in shares for number in share) == numbers
    assert all(number % count == place for place, share in enumerate(shares) for number in share)


@pytest.mark.parametrize("text", ["1/1", "a/b", "1/0", "-1/3"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with expect_refusal("--array is", "0/16"):
        ArrayTask(text, 1)
    task = ArrayTask(" 3/16 ", 1)
    assert (task.place, task.count) == (3, 16)
