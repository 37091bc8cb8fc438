"""Rows shared by several: the same bytes whoever answers them, once each, whatever happened on the way."""

import json
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfm
from tests.alike import thorough
from tests.folders import content
from tests.inference.models import texts
from tests.inference.support import Command, lines, same, write_lines
from tests.refusals import expect_refusal
from xfm.config.inference import VectorFormat
from xfm.config.tasks import EMBED
from xfm.executors.executor import ArrayTask, Executor, LocalPool
from xfm.executors.sharded_map import ShardedMap
from xfm.inference.answer_file import settings_file
from xfm.inference.row_units import RowWork
from xfm.inference.shared_prediction import PartsTarget, answer_together

SIZE = 4


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Thirty texts, of which two cannot be read."""
    rows = [{"text": text if n not in (9, 21) else "", "id": f"t{n}"} for n, text in enumerate(texts(30))]
    write_lines(tmp_path / "rows.jsonl", rows)
    return tmp_path / "rows.jsonl"


def work(model: Path, source: Path) -> RowWork:
    keep = ("id",) if source.is_file() else ()
    return RowWork("embed", str(model), source, EMBED.options(), keep=keep, device="cpu", batch_size=2)


def parquet(path: Path) -> PartsTarget:
    return PartsTarget(path, VectorFormat.PARQUET)


@pytest.mark.parametrize("kind", ["lines", "parquet"])
def test_the_same_bytes_whoever_does_it(model: Path, table: Path, tmp_path: Path, kind: str) -> None:
    def target(name: str) -> PartsTarget:
        path = tmp_path / name / "out"
        return PartsTarget(path) if kind == "lines" else PartsTarget(path, VectorFormat(kind))

    asked = work(model, table)
    one = answer_together(asked, target("one"), LocalPool(1), SIZE)
    assert one is not None
    assert (one.answered, one.before, one.skipped) == (28, 0, 2)
    if kind == "lines":
        answer_together(asked, target("pool"), LocalPool(2), SIZE)
        assert content(tmp_path / "pool") == content(tmp_path / "one")
    members = [ArrayTask(f"{place}/3", 1) for place in (2, 0, 1)]
    shares = [answer_together(asked, target("array"), member, SIZE) for member in members]
    assert [share is None for share in shares] == [True, True, False]
    assert content(tmp_path / "array") == content(tmp_path / "one")
    again = answer_together(asked, target("one"), _Nobody(), SIZE)
    assert again is not None
    assert (again.answered, again.before, again.skipped) == (0, 28, 2)
    assert not [*tmp_path.rglob("*.working")]


class _Nobody(Executor):
    """An engine that must not be asked."""

    def run(self, function: Any, units: Any, done: Any) -> None:
        raise AssertionError(units)


def test_the_numbers_are_those_of_one_row_after_the_other(model: Path, table: Path, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow.parquet")
    answer_together(work(model, table), parquet(tmp_path / "v"), LocalPool(1), SIZE)
    answer_together(work(model, table), PartsTarget(tmp_path / "n", VectorFormat.NPY), LocalPool(1), SIZE)
    good = [row for row in lines(table) if row["text"]]
    expected = xfm.pipeline("embed", model)([row["text"] for row in good])
    found = arrow.read_table(tmp_path / "v").to_pydict()
    np.testing.assert_allclose(found["vector"], expected, atol=1e-6)
    assert found["id"] == [row["id"] for row in good]
    assert found["row"] == [number for number in range(1, 31) if number not in (10, 22)]
    stacked = np.concatenate([np.load(path) for path in sorted((tmp_path / "n").glob("*.npy"))])
    np.testing.assert_allclose(stacked, expected, atol=1e-6)
    whose = [row for path in sorted((tmp_path / "n").glob("*.rows.jsonl")) for row in lines(path)]
    assert [(row["row"], row["id"]) for row in whose] == [*zip(found["row"], found["id"], strict=True)]
    told = json.loads((tmp_path / "v" / "_vectors.json").read_text())
    assert sum(told["files"].values()) == told["units"]["totals"]["answered"] == 28
    assert [row["row"] for row in lines(tmp_path / "v" / "_bad.jsonl")] == [10, 22]


def _dying(units: ShardedMap[Any], deadly: int, mark: Path, number: int) -> Any:
    """A unit, of which one kills its process, the first time that it is done."""
    if number == deadly and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return units(number)


class _DyingPool(LocalPool):
    """Two processes, of which one is killed."""

    def __init__(self, deadly: int, mark: Path) -> None:
        super().__init__(2)
        self.deadly, self.mark = deadly, mark

    def run(self, function: Any, units: Any, done: Any) -> None:
        super().run(partial(_dying, function, self.deadly, self.mark), units, done)


@thorough
def test_what_was_killed_goes_on_with_what_is_missing(model: Path, table: Path, tmp_path: Path) -> None:
    asked = work(model, table)
    out = PartsTarget(tmp_path / "a" / "out.jsonl")
    with expect_refusal("died"):
        answer_together(asked, out, _DyingPool(3, tmp_path / "killed"), SIZE)
    assert not out.path.exists()
    made = {path.name: path.stat().st_mtime_ns for path in (out.work / "made").glob("*.json")}
    assert "000003.json" not in made
    found = answer_together(asked, out, LocalPool(2), SIZE)
    assert found is not None
    assert found.answered + found.before == 28
    assert found.answered < 28
    whole = PartsTarget(tmp_path / "b" / "out.jsonl")
    answer_together(asked, whole, LocalPool(1), SIZE)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_other_settings_and_other_files_are_not_mixed(model: Path, table: Path, tmp_path: Path) -> None:
    asked, out = work(model, table), PartsTarget(tmp_path / "out.jsonl")
    with expect_refusal("cannot be used"):
        answer_together(asked, out, LocalPool(1), SIZE, max_bad=0)
    with expect_refusal("with other settings", "--restart"):
        answer_together(replace(asked, batch_size=3), out, LocalPool(1), SIZE)
    answer_together(replace(asked, batch_size=3), out, LocalPool(1), SIZE, restart=True)
    with expect_refusal("answers of other settings", "--restart"):
        answer_together(asked, out, LocalPool(1), SIZE)
    before = out.path.read_bytes()
    out.path.write_text("mine\n")
    settings_file(out.path).unlink()
    with expect_refusal("holds something"):
        answer_together(asked, out, LocalPool(1), SIZE, restart=True)
    assert out.path.read_text() == "mine\n"
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "mine.txt").write_bytes(before)
    with expect_refusal("mine.txt"):
        answer_together(asked, parquet(tmp_path / "v"), LocalPool(1), SIZE, restart=True)


# ---------------------------------------------------------------- commands
def test_commands_share_and_say_what_is_left(
    command: Command, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, shared = tmp_path / "out.jsonl", ("--unit-size", 8, "--quiet", "--processes", 1)
    given = ("--input", table, "--out", out, "--keep", "id")
    said = command("embed", *given, *shared, "--array", "1/2")
    assert (said.status, out.exists()) == (0, False)
    assert "The share 1/2 is done" in said.out
    said = command("embed", *given, *shared, "--array", "0/2")
    assert f"28 rows are answered in {out} (13 of them by earlier runs)" in said.out
    assert "2 of 30 rows were left out" in said.out
    plain = tmp_path / "plain.jsonl"
    assert command("embed", "--input", table, "--out", plain, "--keep", "id").status == 0
    same(lines(out), lines(plain))
    assert "unit_rows" in command("embed", *given).refusal
