"""What a fine-tuned model says about itself survives its file."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import expect_refusal
from xfm.config.plain import to_plain
from xfm.config.restore import from_plain
from xfm.config.task import TaskConfig
from xfm.config.task_spec import Field, TaskSpec
from xfm.config.tasks import task_names

names = st.lists(st.text(max_size=5), min_size=1, max_size=5, unique=True).map(tuple)


@given(names, st.integers(0, 600))
def test_labels_answers_and_length_come_back(texts: tuple[str, ...], length: int) -> None:
    classifier = TaskConfig("text-classification", len(texts), labels=texts, max_tokens=length)
    for task in (classifier, TaskConfig("vqa", answers=texts)):
        assert from_plain(TaskConfig, to_plain(task), Path("task.json")) == task


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"labels": ["a"]}, "1 labels do not suit 2 classes"),
        ({"labels": ["a", "a"]}, "differ from one another"),
        ({"labels": ["a", 1]}, "labels cannot be"),
        ({"max_tokens": -1}, "cannot be negative"),
    ],
)
def test_what_does_not_fit_is_named(values: dict[str, object], words: str) -> None:
    with expect_refusal(words):
        from_plain(TaskConfig, {"kind": "text-classification", "classes": 2, **values}, Path("task.json"))


def test_a_package_whose_task_cannot_be_loaded_costs_a_warning_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xfm.tasks]\nbroken = no_such_module:SPEC\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match=r"broken \(no_such_module:SPEC\) cannot be loaded"):
        known = task_names()
    assert "vqa" in known
    assert "broken" not in known


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "../x"}, "no name of a task"),
        ({"also": "abc"}, "tuples"),
        ({"fields": []}, "tuples"),
        ({"encoders": ("sound",)}, "no encoder sound"),
        ({"head": "m:H"}, "both or none"),
    ],
    ids=str,
)
def test_a_spec_that_could_not_work_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TaskSpec(**{"name": "mine", "summary": "", "fields": (Field("text"),), **wrong})
