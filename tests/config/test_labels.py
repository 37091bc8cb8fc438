"""Class weights in all the ways that they are written, and settings without use for one kind of labels."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import expect_refusal
from xfm.config.finetune import FinetuneConfig
from xfm.config.finetune_file import dump_finetune, read_finetune
from xfm.config.image import ImageTrainingConfig
from xfm.config.labels import LabelKind, class_weights_of
from xfm.config.options import parse
from xfm.config.task import TaskConfig
from xfm.config.tasks import task_spec


@given(
    st.dictionaries(
        st.text("abc xyz01", min_size=1).map(str.strip).filter(bool), st.floats(0.01, 99), min_size=1
    )
)
def test_a_text_and_a_mapping_are_the_same(weights: dict[str, float]) -> None:
    written = ",".join(f"{label}={weight!r}" for label, weight in weights.items())
    assert class_weights_of(written) == class_weights_of(weights) == weights
    assert class_weights_of(weights) == class_weights_of(class_weights_of(weights))


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("balanced", "balanced"),
        ("", ""),
        ("spam=5,ham=1", {"spam": 5, "ham": 1}),
        ("{spam: 5, 'a, b=c': 2}", {"spam": 5, "a, b=c": 2}),
        ("a=b=2", {"a=b": 2}),
        ("{2: 2, true: 3}", {"2": 2, "true": 3}),
    ],
)
def test_weights_as_options(written: str, right: Any) -> None:
    assert parse(FinetuneConfig, [f"--class_weights={written}"]).class_weights == right


def test_weights_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("class_weights: {spam: 5, 2: 1.5, false: 2}\n")
    _, values = read_finetune(path)
    config = parse(FinetuneConfig, values=values, source="file")
    assert config.class_weights == {"spam": 5, "2": 1.5, "false": 2}
    path.write_text(dump_finetune({}, config, task_spec("reasoning")))
    _, again = read_finetune(path)
    assert parse(FinetuneConfig, values=again, source="file").class_weights == config.class_weights


@pytest.mark.parametrize(
    "wrong",
    [
        *("spam", "spam=0", "spam=-1", "spam=nan", "spam=x", "=2", "a=1,a=2", "{}", "{a: [1]}", "spam=1e300"),
        *("{a: " + "9" * 400 + "}", "{" * 3000),
    ],
)
def test_what_is_no_weight_is_refused(wrong: str) -> None:
    with expect_refusal("class_weights"):
        parse(FinetuneConfig, [f"--class_weights={wrong}"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"regression": True, "multi_label": True}, ("regression", "multi_label")),
        ({"regression": True, "class_weights": "balanced"}, ("regression", "class_weights")),
        ({"threshold": 0.3}, ("threshold", "multi_label")),
        ({"threshold": 1.5, "multi_label": True}, ("threshold", "from 0 to 1")),
        ({"label_separator": " "}, ("label_separator",)),
        ({"multi_label": True, "image": ImageTrainingConfig(mixup=0.2)}, ("image.mixup", "multi_label")),
        (
            {"multi_label": True, "image": ImageTrainingConfig(label_smoothing=0.2)},
            ("image.label_smoothing",),
        ),
    ],
)
def test_settings_of_the_other_kind_are_refused(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    with expect_refusal(*words, kind=ValueError):
        FinetuneConfig(**changes)


def test_only_tasks_of_classes_read_them() -> None:
    several = {"multi_label", "threshold", "label_separator"}
    for name in ("text-classification", "image-classification", "image-text-classification"):
        assert all(task_spec(name).reads(one) for one in several)
    for name, weighs in (("reasoning", True), ("vqa", False), ("retrieval", False)):
        assert not any(task_spec(name).reads(one) for one in several)
        assert task_spec(name).reads("class_weights") is weighs


def test_a_head_of_one_output_has_no_several_labels() -> None:
    with pytest.raises(ValueError, match="several labels"):
        TaskConfig("text-classification", 1, label_kind=LabelKind.SEVERAL)


def test_a_weight_that_nobody_could_write_is_not_written() -> None:
    """Of a few letters YAML makes lists of lists that take all memory as a text."""
    laughs = ", ".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(12))
    with expect_refusal("class_weights", "is no number", kind=ValueError):
        class_weights_of(f"{{{laughs}}}")
    deep: list[Any] = []
    for _ in range(12):
        deep = [deep] * 9
    with expect_refusal("class_weights", "is no number", kind=ValueError):
        class_weights_of({"a": deep})  # pyright: ignore[reportArgumentType]
