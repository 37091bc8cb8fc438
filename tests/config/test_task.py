"""What a fine-tuned model says about itself survives its file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfm.config.plain import to_plain
from xfm.config.restore import from_plain
from xfm.config.task import TaskConfig
from xfm.errors import UserError

names = st.lists(st.text(max_size=5), min_size=1, max_size=5, unique=True).map(tuple)


@given(names, st.integers(0, 600))
def test_labels_and_length_come_back(labels: tuple[str, ...], length: int) -> None:
    task = TaskConfig("text-classification", len(labels), labels=labels, max_tokens=length)
    assert from_plain(TaskConfig, to_plain(task), Path("task.json")) == task


@given(names)
def test_answers_come_back(answers: tuple[str, ...]) -> None:
    task = TaskConfig("vqa", answers=answers)
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
    with pytest.raises(UserError, match=words):
        from_plain(TaskConfig, {"kind": "text-classification", "classes": 2, **values}, Path("task.json"))
