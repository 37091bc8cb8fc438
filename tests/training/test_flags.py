"""What of a run is flagged, and what is not."""

import json
from pathlib import Path

import pytest

from xfm.config.load import load_recipe
from xfm.training.flags import (
    Flag,
    FlagKind,
    last_lines,
    of_log,
    of_pretraining,
    plain_flags,
    read_flags,
    recommended_steps,
    shortened,
)
from xfm.training.logging import log_lines


def test_fewer_steps_than_wanted() -> None:
    found = shortened(5, 400, "fit so many rows", "leave --steps out")
    assert found is not None
    assert found.what == FlagKind.SHORTENED
    for part in ("5 steps", "400", "fit so many rows", "leave --steps out"):
        assert part in found.sentence
    assert shortened(400, 400, "fit") is None
    assert shortened(900, 400, "fit") is None
    assert shortened(5, 0, "nobody says") is None


def test_events_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [
        {"step": 3, "event": "skipped_step", "message": "Step 3 skipped: loss nan"},
        *({"step": 4, "event": "bad_record", "key": key, "message": "no picture"} for key in "xyx"),
        {"step": 5, "event": "resumed", "message": "checkpoints/6 is damaged"},
        {"step": 5, "event": "resumed", "message": "Resuming from checkpoints/5 at step 5."},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 6, "lo')
    found = {flag.what: flag.sentence for flag in of_log(log_lines(path))}
    assert set(found) == {FlagKind.SKIPPED, FlagKind.LEFT_OUT, FlagKind.RESUMED}
    assert "1 step had" in found[FlagKind.SKIPPED]
    assert "2 records" in found[FlagKind.LEFT_OUT]
    assert "times" not in found[FlagKind.RESUMED].partition(":")[0]
    assert of_log(log_lines(tmp_path / "none.jsonl")) == []


@pytest.mark.parametrize("name", ["nano", "small", "base"])
def test_the_packages_recipes_say_how_long(name: str, tmp_path: Path) -> None:
    steps = load_recipe(name).training.steps
    assert recommended_steps(name) == steps
    assert of_pretraining(name, steps, tmp_path) == []
    (found,) = of_pretraining(name, steps // 3, tmp_path)
    assert f"the recipe {name} has" in found.sentence


def test_own_recipes_are_measured_by_themselves(tmp_path: Path) -> None:
    assert recommended_steps("mine") == 0
    assert of_pretraining("mine", 5, tmp_path) == []
    assert [flag.what for flag in of_pretraining("mine", 5, tmp_path, fallback=100)] == [FlagKind.SHORTENED]


def test_flags_survive_json() -> None:
    flags = [Flag(FlagKind.SMOKE, "a sentence"), Flag(FlagKind.ROUGH, "another")]
    assert read_flags(json.loads(json.dumps({"flags": plain_flags(flags)}))) == flags
    assert read_flags({}) == []
    assert last_lines(flags) == "Flagged: smoke run: a sentence.\nFlagged: few rows: another.\n"
    assert last_lines([]) == ""
