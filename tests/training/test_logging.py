import json

import pytest
import torch

from xfm.training.logging import RunLog, Window, drop_lines_after
from xfm.training.run_folder import LOG_FILE


def test_window_means_over_what_was_seen():
    window = Window()
    window.add({"loss": torch.tensor(1.0), "losses/itc": torch.tensor([4.0])})
    window.add({"loss": torch.tensor(2.0)})
    assert window.means() == {"loss": 1.5, "losses/itc": 4.0}
    assert Window().means() == {}


def test_continued_log_repeats_no_step(tmp_path):
    path = tmp_path / LOG_FILE
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n[]\n7\n{}\n{"step": "1"}\n{"st')
    drop_lines_after(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]
    drop_lines_after(tmp_path / "none.jsonl", 2)


def test_lines_and_events(tmp_path, capsys):
    log = RunLog(tensorboard=False)
    log.open(tmp_path, 4, 0)
    window = Window()
    window.add(
        {"loss": torch.tensor(2.0), "losses/itc": torch.tensor(2.0), "metrics/right": torch.tensor(0.5)}
    )
    window.add({"grad_norm": torch.tensor(3.0)})
    window.steps, window.samples = 1, 8
    log.step(1, window, 0.1, 0.25)
    log.on_event(1, "resumed", "Going on.")
    log.on_event(1, "bad_record", "hidden", {"key": "a.tar:1"})
    log.close()
    first, second, third = (json.loads(line) for line in (tmp_path / LOG_FILE).read_text().splitlines())
    assert (first["loss"], first["losses"], first["metrics"]) == (2.0, {"itc": 2.0}, {"right": 0.5})
    assert first["samples_per_s"] == pytest.approx(8 * first["steps_per_s"])
    assert second == {"step": 1, "event": "resumed", "message": "Going on."}
    assert third["key"] == "a.tar:1"
    shown = capsys.readouterr().err
    assert "Going on." in shown
    assert "hidden" not in shown
    assert "itc=2" in shown


def test_tensorboard_reads_what_was_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(progress=False)
    log.open(tmp_path, 4, 0)
    for step in (1, 2):
        window = Window()
        window.add({"loss": torch.tensor(float(step)), "losses/itc": torch.tensor(2.0)})
        log.step(step, window, 0.1, step / 4)
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1.0), (2, 2.0)]
    assert {"lr", "losses/itc", "speed/samples_per_s"} <= set(events.Tags()["scalars"])
