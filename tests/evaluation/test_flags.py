"""An evaluation says what was out of the ordinary in the training of its model."""

import json
from pathlib import Path

from tests.evaluation.tiny import save_tiny_model, write_world
from tests.reports.written import page_of
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.evaluation.report import flags_of, phase_ends
from xfm.evaluation.suite import evaluate
from xfm.reports.scores import REQUIRED_KEYS, Score, stored_flags
from xfm.training.clock import ClockState, written
from xfm.training.flags import Flag, FlagKind

WHOLE = {key: Score(0.5, 0.1, None, 500, 0) for key in REQUIRED_KEYS}


def test_the_models_run_is_read(tmp_path: Path) -> None:
    events = [{"step": 9, "event": "skipped_step"}, {"step": 9, "event": "bad_record"}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    details = {"provenance": {"recipe": "nano", "steps": 10}}
    for model in (tmp_path / "model", tmp_path / "checkpoints" / "step-00000010"):
        found = [flag.what for flag in flags_of(model, details, WHOLE)]
        assert found == [FlagKind.SHORTENED, FlagKind.SKIPPED, FlagKind.LEFT_OUT]
    assert flags_of(tmp_path / "model", {"provenance": {"recipe": "hostile", "steps": "many"}}, WHOLE) == []
    more = [Flag(FlagKind.SHORTENED, "a better sentence")]
    found = flags_of(tmp_path / "model", details, WHOLE, more)
    assert [flag.sentence for flag in found if flag.what == FlagKind.SHORTENED] == ["a better sentence"]
    found = flags_of(tmp_path / "model", details, WHOLE, [Flag(FlagKind.SMOKE, "a tiny world")])
    assert [flag.what for flag in found] == [FlagKind.SMOKE, FlagKind.SKIPPED, FlagKind.LEFT_OUT]


def test_where_the_phases_of_a_run_by_the_clock_ended(tmp_path: Path) -> None:
    """Its record says so, beside the finished model and two folders above a checkpoint."""
    moments = [ClockState(step / 6, 0.5 * step, int(step > 2)) for step in range(7)]
    (tmp_path / "schedule.csv").write_text(written(moments))
    for model in (tmp_path / "model", tmp_path / "checkpoints" / "step-00000006"):
        details = {"model": str(model), "provenance": {"position": {"minutes": 0.05}}}
        assert phase_ends(details) == [3]


def test_flags_are_kept_and_shown(tmp_path: Path) -> None:
    model, world = save_tiny_model(tmp_path / "run" / "model"), write_world(tmp_path / "world")
    config = EvaluationConfig(parts=(Part.HARD,))
    evaluate(model, world, tmp_path / "out", config, False, [Flag(FlagKind.SMOKE, "a tiny <world>")])
    assert [flag.what for flag in stored_flags(tmp_path / "out")] == [
        FlagKind.SMOKE,
        FlagKind.ROUGH,
        FlagKind.INCOMPLETE,
    ]
    page = page_of(tmp_path / "out")
    assert "a tiny &lt;world&gt;." in page
    assert page.count("Read the scores with this in mind") == 1
    assert stored_flags(tmp_path / "elsewhere") == []
