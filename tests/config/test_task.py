"""What a fine-tuned model says about itself survives its file; class weights in all ways of writing them."""

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import expect_refusal
from xfm.cli.main import parse_command
from xfm.cli.predict import parser
from xfm.config import tasks
from xfm.config.finetune import FinetuneConfig
from xfm.config.finetune_file import dump_finetune, read_finetune
from xfm.config.labels import class_weights_of
from xfm.config.options import parse
from xfm.config.plain import to_plain, yaml_value
from xfm.config.task import TaskConfig
from xfm.config.task_spec import Field, FieldKind, TaskSpec
from xfm.config.tasks import PREDICT, check_task, task_names, task_spec, task_specs
from xfm.config.typed import from_plain
from xfm.finetuning.presets import check_applicable

names = st.lists(st.text(max_size=5).filter(str.strip), min_size=1, max_size=5, unique=True).map(tuple)


@given(names, st.integers(0, 600))
def test_labels_answers_and_length_come_back(texts: tuple[str, ...], length: int) -> None:
    classifier = TaskConfig("text-classification", len(texts), labels=texts, max_tokens=length)
    for task in (classifier, TaskConfig("vqa", answers=texts)):
        assert from_plain(TaskConfig, to_plain(task), Path("task.json")) == task


UNUSABLE = {
    "import no_such_module": "no_such_module",
    "SPEC = TaskSpec('vqa', 'another', (Field('text'),))": "there is a task vqa already",
    "SPEC = TaskSpec('mine', '', (Field('label', holds=FieldKind.LABEL),))": "the field label holds",
}
"""The module of a package's task, and what its warning must name."""


@pytest.mark.parametrize(("code", "words"), UNUSABLE.items(), ids=lambda text: text[-30:])
def test_a_package_with_an_unusable_task_costs_a_warning_alone(code, words, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "_known", dict(tasks._known))
    monkeypatch.setattr(tasks, "_asked", set())
    module = f"unusable_{abs(hash(code))}"
    (tmp_path / f"{module}.py").write_text(
        f"from xfm.config.task_spec import Field, FieldKind, TaskSpec\n{code}\n"
    )
    info = tmp_path / "unlucky-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unlucky\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[xfm.tasks]\nbroken = {module}:SPEC\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match="unlucky") as told:
        known = task_names()
    assert len(told) == 1
    assert all(word in str(told[0].message) for word in ("broken", f"{module}:SPEC", words))
    assert "vqa" in known
    assert "mine" not in known
    for spec in task_specs(tunable=True):
        check_applicable(spec, FinetuneConfig(lr=0.1))


def test_the_tasks_of_the_package_pass_the_checks_of_others() -> None:
    for spec in tasks._OWN:
        check_task(spec, tasks._OWN)
        for name in spec.settings:
            attrgetter(name)(FinetuneConfig())
    options = {action.dest for one in ("retrieval", "grounding") for action in parser([one])._actions}
    own = {"text", "phrase", "image", "top_k", "rerank"}
    assert options - own == PREDICT


SPEC = {"name": "mine", "summary": "", "fields": (Field("text"),)}


def test_picture_fields_of_any_name_are_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_known", dict(tasks._known))
    monkeypatch.setenv("HOME", str(tmp_path))
    pairs = Field("views", holds=FieldKind.TWO_PICTURES, parts=("front", "back"))
    tasks.register_task(TaskSpec("mine", "", (Field("photo", holds=FieldKind.PICTURE), pairs, Field("word"))))
    line = "predict mine --model m --photo ~/a.png --front ~/b.png --back=~/c.png --word ~/d"
    _, chosen = parse_command(line.split())
    assert [chosen.photo, chosen.front, chosen.back] == [str(tmp_path / f"{one}.png") for one in "abc"]
    assert chosen.word == "~/d"


@given(
    st.dictionaries(
        st.text("abc xyz01", min_size=1).map(str.strip).filter(bool), st.floats(0.01, 99), min_size=1
    )
)
def test_a_text_and_a_mapping_are_the_same(weights: dict[str, float]) -> None:
    written = ",".join(f"{label}={weight!r}" for label, weight in weights.items())
    assert class_weights_of(written) == class_weights_of(weights) == weights
    assert class_weights_of(weights) == class_weights_of(class_weights_of(weights))
    assert class_weights_of({"rare": 500_000.0}) == {"rare": 500_000.0}


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("balanced", "balanced"),
        ("", ""),
        ("spam=5,ham=1", {"spam": 5, "ham": 1}),
        ("a=b=2", {"a=b": 2}),
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
    "wrong", [*("spam", "spam=0", "spam=nan", "=2", "a=1,a=2", "{}", "{a: [1]}", "{" * 3000)]
)
def test_what_is_no_weight_is_refused(wrong: str) -> None:
    with expect_refusal("class_weights"):
        parse(FinetuneConfig, [f"--class_weights={wrong}"])


def test_a_weight_that_nobody_could_write_is_not_written() -> None:
    """Of a few letters YAML makes lists of lists that take all memory as a text."""
    laughs = ", ".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(12))
    with expect_refusal("class_weights", "is no number", kind=ValueError):
        class_weights_of(yaml_value(f"{{{laughs}}}"))
