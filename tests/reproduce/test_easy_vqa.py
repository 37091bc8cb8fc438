"""The run on easy-VQA, on a miniature in the package's layout."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.alike import thorough
from tests.evaluation.tiny import COLOURS, SIDE, save_tiny_model
from tests.finetuning.conftest import stopped
from tests.official.easy_vqa import write_easy_vqa
from xfm.cli import main
from xfm.errors import UserError
from xfm.modeling.folder import load_model
from xfm.reports.scores import read_scores
from xfm.reproduce.easy_vqa import (
    BASELINE_SHARE,
    FEWEST,
    LOOKS,
    MOST,
    Speed,
    fitting_steps,
    hold_out,
    run_easy_vqa,
    stored_steps,
)
from xfm.reproduce.read.easy_vqa import read_easy_vqa
from xfm.tasks.rows import Question


@pytest.fixture
def data(tmp_path):
    """Pictures of one colour each, with three questions."""
    for split, count in (("train", 70), ("test", 8)):
        names = [list(COLOURS)[number % 3] for number in range(count)]
        rows = [
            row
            for number, name in enumerate(names)
            for row in (
                ["what color is the shape?", name, number],
                ["is there a red shape?", "yes" if name == "red" else "no", number],
                ["what shape is it?", "circle", number],
            )
        ]
        write_easy_vqa(tmp_path / "data", split, [COLOURS[name] for name in names], rows)
    return tmp_path / "data"


def test_the_command_scores_the_test_questions_beside_the_question_alone(data, tmp_path, capsys):
    model, out = save_tiny_model(tmp_path / "model"), tmp_path / "out"
    command = ["easy-vqa", "--model", str(model), "--data", str(data), "--out", str(out), "--quiet"]
    assert main([*command, "--steps", "24", "--device", "cpu"]) == 0
    scores = read_scores(out / "metrics.json")
    whole = scores["vqa/test/accuracy"]
    assert whole.n == 24
    assert whole.baseline is not None
    assert whole.baseline >= 1 / 3  # the most frequent answer of each kind
    assert {key.rsplit("_", 1)[1] for key in scores if "accuracy_" in key} == {"colour", "presence", "shape"}
    printed = capsys.readouterr().out
    assert printed.split()[:6] == ["score", "95", "%", "chance", "baseline", "n"]
    loaded = load_model(out / "model")
    assert loaded.preprocessing.image_size == SIDE
    assert set(loaded.task.task.answers) == {"red", "green", "blue", "yes", "no", "circle"}
    assert main(command) == 2
    assert "finished run" in capsys.readouterr().err


@thorough
def test_a_budget_decides_the_steps_and_a_stopped_run_goes_on(data, tmp_path, monkeypatch):
    model, out = save_tiny_model(tmp_path / "model"), tmp_path / "out"
    with stopped(monkeypatch, out, 30):
        run_easy_vqa(model, out, 1e-6, data, device="cpu", progress=False)
    assert stored_steps(out) == FEWEST
    found = run_easy_vqa(model, out, 99.0, data, resume=True, device="cpu", progress=False)
    assert found.tuned.step == FEWEST
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["finetune"]["baseline_steps"] == FEWEST // BASELINE_SHARE


@given(
    step=st.floats(1e-3, 1),
    question=st.floats(1e-5, 1e-2),
    seconds=st.floats(-10, 1e5),
    valid=st.integers(1, 900),
)
def test_planned_steps_keep_to_the_time(step, question, seconds, valid):
    steps = fitting_steps(Speed(step, question), seconds, valid, 9673)
    assert FEWEST <= steps <= MOST
    answered = 2 * (9673 + LOOKS * valid) * question
    needed = steps * step * (1 + 1 / BASELINE_SHARE) + answered
    assert needed <= max(seconds, 0) + 1e-6 or steps == FEWEST
    if steps < MOST:
        assert needed + 2 * step > seconds or steps == FEWEST


@given(held=st.integers(1, 99))
def test_validation_has_pictures_of_its_own(held):
    rows = [Question(Path(f"{number // 3}.png"), "q", "a", "k") for number in range(90)]
    train, valid = hold_out(rows, held)
    assert {row.image for row in train}.isdisjoint({row.image for row in valid})
    assert len(train) + len(valid) == 90
    assert len({row.image for row in valid}) == min(held, 29)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        stored_steps(tmp_path)


def test_the_official_numbers_of_questions():
    """Of the package, where it is installed."""
    pytest.importorskip("easy_vqa")
    splits = read_easy_vqa()
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 38575, "test": 9673}
    assert sum(row.kind == "presence" for row in splits["test"]) == 7136
