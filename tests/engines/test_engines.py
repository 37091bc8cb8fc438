"""Every engine does its share of the units, each once, and says what went wrong in one sentence."""

import signal
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engines.counting import Squares, done
from tests.folders import content
from tests.processes import XFM, Running
from tests.refusals import expect_refusal
from xfm.engines.array import ArrayMember, ArrayPlace
from xfm.engines.local import LocalPool


@pytest.mark.parametrize("workers", [1, 3])
def test_local_processes_make_what_is_missing(tmp_path: Path, workers: int) -> None:
    units = Squares(tmp_path)
    units.make(4)
    before = units.path(4).stat().st_mtime_ns
    assert done(LocalPool(workers), units, 30) == [number for number in range(30) if number != 4]
    assert units.path(4).stat().st_mtime_ns == before
    assert content(tmp_path) == {f"{number}.txt": str(number**2).encode() for number in range(30)}
    assert done(LocalPool(workers), units, 30) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_unit_refuses_ends_the_work(tmp_path: Path, workers: int) -> None:
    with expect_refusal("number 5 is wrong"):
        done(LocalPool(workers), Squares(tmp_path, wrong=5), 100)
    assert len([*tmp_path.iterdir()]) < 90


def test_a_process_that_dies_is_said(tmp_path: Path) -> None:
    with expect_refusal("died", "--workers"):
        done(LocalPool(2), Squares(tmp_path, deadly=5), 10)


@pytest.mark.parametrize("helper", ["forkserver", "forked"])
def test_ctrl_c_is_the_parent_s_alone(model: Path, tmp_path: Path, helper: str) -> None:
    """In the seconds in which what forks its helpers imports libraries, and when it has forked them."""
    (tmp_path / "rows.csv").write_text("text\n" + "a red square\n" * 2000)
    words = ["embed", str(tmp_path / "rows.csv"), "--model", str(model), "--out", str(tmp_path / "out")]

    def helpers() -> list[psutil.Process]:
        return [one for one in running.children() if "forkserver" in " ".join(one.cmdline())]

    with Running([*XFM, *words, "--processes", "2", "--unit-size", "100"]) as running:
        running.wait_until(lambda: len(helpers()) > (helper == "forked"), 600)
        running.signal(signal.SIGINT, group=True)
        ended = running.end(600)
    assert ended.status == 130
    assert len(ended.said()) == 1
    assert not ended.left


@given(st.integers(1, 9), st.integers(0, 40), st.sets(st.integers(0, 39)))
def test_the_places_of_an_array_share_the_units(count: int, total: int, made: set[int]) -> None:
    """Whatever is made already, each unit has one place."""

    class Noting(LocalPool):
        def run(self, units, numbers, after):
            taken.extend(numbers)

    taken: list[int] = []
    numbers = [number for number in range(total) if number not in made]
    shares = 0
    for place in range(count):
        member = ArrayMember(ArrayPlace(place, count), Noting(1))
        shares += member.share(numbers)
        member.run(Squares(Path("nowhere")), numbers, lambda _: None)
    assert sorted(taken) == numbers
    assert shares == len(numbers)


@pytest.mark.parametrize("text", ["", "1", "1/1", "3/2", "-1/2", "a/b", "1/0", "0/99999999", "0/2 3"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with expect_refusal("--array is", "0/16"):
        ArrayPlace.parse(text)
    assert ArrayPlace.parse(" 3/16 ") == ArrayPlace(3, 16)
