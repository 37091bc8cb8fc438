"""Logs, and what of a run is flagged."""

import json
from pathlib import Path

import pytest

from xfm.config.load import load_recipe
from xfm.training.flags import FlagKind, of_log, of_pretraining, recommended_steps
from xfm.training.logging import drop_lines_after, log_lines
from xfm.training.run_folder import LOG_FILE


def test_continued_log_repeats_no_step(tmp_path):
    path = tmp_path / LOG_FILE
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n[]\n7\n{}\n{"step": "1"}\n{"st')
    drop_lines_after(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]
    drop_lines_after(tmp_path / "none.jsonl", 2)


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


@pytest.mark.parametrize("name", ["nano", "base"])
def test_the_packages_recipes_say_how_long(name: str, tmp_path: Path) -> None:
    steps = load_recipe(name).training.steps
    assert recommended_steps(name) == steps
    assert of_pretraining(name, steps, tmp_path) == []
    (found,) = of_pretraining(name, steps // 3, tmp_path)
    assert found.what == FlagKind.SHORTENED
    assert f"the recipe {name} has" in found.sentence
