"""Laws of every task that models are fine-tuned for: what its row says is what it does."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import xfm
from tests.finetuning.conftest import FILES, SAMPLES
from tests.inference.models import TASKS, tuned
from xfm.config.task_spec import Field, FieldKind
from xfm.config.tasks import task_spec, task_specs
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.data.tables import ColumnMap, TableRow, read_table
from xfm.models.folder import Pretrained
from xfm.tasks.base import HiddenInput, Task, TaskSettings
from xfm.tasks.class_task import ClassTask
from xfm.tasks.images import TaskImages
from xfm.tasks.retrieval import SHORTLIST
from xfm.tasks.rows import CellMeaning, SplitRows

LONGEST = 128
"""Tokens that the tiny model has positions for."""
QUICK = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
EVERY_FIELD = [(kind, field) for kind in FILES for field in task_spec(kind).fields]


@cache
def sample(kind: str) -> tuple[TableRow, ...]:
    """The rows of the tutorials' sample, with the names of the fields."""
    file, columns = FILES[kind]
    mapped = ColumnMap.parse(columns)
    return tuple(read_table(SAMPLES / file, task_spec(kind).fields, mapped, Path("unused")))


def typed(kind: str) -> list[Any]:
    task = task_spec(kind).task_class()
    return list(task.merge([task.from_row(row, CellMeaning()) for row in sample(kind)]))


def cells(kind: str) -> dict[str, Any]:
    """The first row as JSON holds it, by the names of the fields."""
    return {name: value for name, value in sample(kind)[0].fields.items() if value is not None}


def build(kind: str, blanked: HiddenInput = HiddenInput.NOTHING) -> tuple[Task[Any, Any, Any], Pretrained]:
    """A task whose module has weights that make a difference, and the same model for a pipeline."""
    found = tuned(kind)
    told = found.task.task
    how = TaskSettings(blanked, max_tokens=told.max_tokens or LONGEST, precision=Precision.FP32)
    data = SplitRows(typed(kind), labels=told.labels, answers=told.answers)
    task = task_spec(kind).task_class()(found, TaskImages(found.preprocessing), data, how)
    task.module.load_state_dict(found.task.state_dict())
    return task, found


# ---------------------------------------------------------------- names and columns
@pytest.mark.parametrize("spec", task_specs(), ids=lambda spec: spec.name)
def test_a_task_has_one_name_and_others_are_understood(spec: xfm.TaskSpec) -> None:
    assert {task_spec(name) for name in spec.names} == {spec}
    assert spec.pipeline_class()
    if spec.tunable:
        assert spec.task_class().spec == spec
        assert spec.head_class()
        assert TASKS.keys() == FILES.keys() >= {spec.name}
        return
    with pytest.raises(UserError, match=spec.name):
        spec.task_class()


def read(path: Path, kind: str, *told: dict[str, Any]) -> list[TableRow]:
    """A table of JSON lines, read as fine-tuning reads it."""
    path.write_text("".join(json.dumps(row) + "\n" for row in told))
    return read_table(path, task_spec(kind).fields, ColumnMap(), path.parent / "pictures", SAMPLES)


@pytest.mark.parametrize(("kind", "field"), EVERY_FIELD, ids=lambda one: getattr(one, "name", one))
def test_a_field_is_read_by_every_name(kind: str, field: Field, tmp_path: Path) -> None:
    row, task = cells(kind), task_spec(kind).task_class()
    value = row.pop(field.name, None)
    whole = [{**row, name: value} for name in field.names] if value is not None else [row]
    found = [task.from_row(read(tmp_path / "a.jsonl", kind, told)[0], CellMeaning()) for told in whole]
    assert found == [typed(kind)[0]] * len(found) or kind in ("retrieval", "captioning")  # merged rows
    assert len(set(map(repr, found))) == 1


@pytest.mark.parametrize(("kind", "field"), EVERY_FIELD, ids=lambda one: getattr(one, "name", one))
def test_a_missing_cell_is_named(kind: str, field: Field, tmp_path: Path) -> None:
    row, task = cells(kind), task_spec(kind).task_class()
    name = field.parts[0] if field.parts and field.parts[0] in row else field.name
    if field.optional:
        lacking = {key: value for key, value in row.items() if key != name}
        task.from_row(read(tmp_path / "a.jsonl", kind, lacking)[0], CellMeaning())
        return
    _, bad = read(tmp_path / "a.jsonl", kind, row, {**row, name: None})
    with pytest.raises(UserError) as error:
        task.from_row(bad, CellMeaning())
    assert f"{tmp_path / 'a.jsonl'}:2" in str(error.value)
    assert name in str(error.value)


# ---------------------------------------------------------------- what is hidden is not seen
def _without(row: Any, blanked: HiddenInput) -> Any:
    """The row with something else in the place of what is hidden."""
    other = {"image": Path("/nowhere.png"), "images": (Path("/a.png"), Path("/b.png"))}
    if blanked is not HiddenInput.PICTURE:
        other = {"text": "something else", "phrase": "something else"}
    return replace(row, **{name: value for name, value in other.items() if hasattr(row, name)})


@pytest.mark.parametrize(
    ("kind", "blanked"), [(kind, hidden) for kind in FILES for hidden in task_spec(kind).task_class().hides]
)
def test_what_is_hidden_is_not_seen(kind: str, blanked: HiddenInput) -> None:
    rows = typed(kind)
    if blanked is HiddenInput.FIRST_TEXT:
        rows = [replace(row, second="it is red") for row in rows]
    blind, _ = build(kind, blanked)
    assert blind.predict(rows) == blind.predict([_without(row, blanked) for row in rows])
    if blanked is HiddenInput.PICTURE:
        assert len(blind.pictures.kept) == 0


# ---------------------------------------------------------------- training as serving
def answers(kind: str, task: Task[Any, Any, Any], found: Pretrained, rows: list[Any]) -> list[Any]:
    """What the pipeline says of typed rows, in the form of the task's predictions."""
    pipe, spec = xfm.pipeline(kind, model=found, batch_size=3), task_spec(kind)
    if kind == "retrieval":
        captions = [caption for row in rows for caption in row.captions]
        shown = [row.image for row in rows]
        return [hits[0]["text"] for hits in pipe(shown, texts=captions, top_k=1, rerank=SHORTLIST)]
    inputs = [_input(spec, task, row) for row in rows]
    if kind == "captioning":
        told = pipe(inputs, max_tokens=task.settings.max_tokens)
        return [row[0]["generated_text"] for row in told]
    told = pipe(inputs)
    if kind == "sentence-similarity":
        return [row["score"] for row in told]
    if isinstance(task, ClassTask):
        return [{one["label"]: one["score"] for one in row} for row in told]
    if kind == "vqa":
        return [row[0]["answer"] for row in told]
    sizes = [Image.open(row.image).size for row in rows]
    edges = ("xmin", "ymin", "xmax", "ymax")
    return [
        [row["box"][edge] / size[place % 2] for place, edge in enumerate(edges)]
        for row, size in zip(told, sizes, strict=True)
    ]


def _input(spec: xfm.TaskSpec, task: Task[Any, Any, Any], row: Any) -> dict[str, Any]:
    """A typed row as an input of the pipeline: its texts and pictures in the order of the fields."""
    texts, pictures = [*task.texts_of(row)], [*task.images_of(row)]
    given: dict[str, Any] = {}
    for field in spec.inputs:
        if field.holds is FieldKind.TWO_PICTURES:
            given[field.name] = [pictures.pop(0), pictures.pop(0)]
        elif field.holds is FieldKind.PICTURE:
            given[field.name] = pictures.pop(0)
        elif texts:
            given[field.name] = texts.pop(0)
    return given


def predictions(task: Task[Any, Any, Any], rows: list[Any]) -> list[Any]:
    found = task.predict(rows)
    if isinstance(task, ClassTask):
        return [dict(zip(task.labels.names, one.probabilities, strict=True)) for one in found]
    if task.spec.name == "sentence-similarity":
        return [one.score for one in found]
    if task.spec.name == "retrieval":
        return [one.best_text for one in found]
    return [[min(max(edge, 0), 1) for edge in one] if isinstance(one, tuple) else one for one in found]


@pytest.mark.parametrize("kind", FILES)
def test_a_pipeline_answers_what_the_task_predicts(kind: str) -> None:
    task, found = build(kind)
    rows = typed(kind)
    told, expected = answers(kind, task, found, rows), predictions(task, rows)
    for one, other in zip(told, expected, strict=True):
        assert one == (other if isinstance(other, str) else pytest.approx(other, abs=1e-4))


@pytest.mark.parametrize(
    "kind", [kind for kind in FILES if task_spec(kind).has_texts and kind != "captioning"]
)
@given(
    said=st.lists(
        st.text(st.sampled_from("aA red,.!?-'Square 7é"), min_size=1, max_size=400), min_size=1, max_size=4
    )
)
@QUICK
def test_whatever_the_text_training_reads_what_serving_reads(kind: str, said: list[str]) -> None:
    """Long texts, signs and capitals: the tokens that the pipeline makes are those of the task's batch."""
    task, found = _built(kind)
    said = [text for text in said if text.strip()] or ["a"]
    pipe = xfm.pipeline(kind, model=found)
    served = pipe.tokenise([(pipe.as_read(text, 1),) for text in said])
    trained = task.encode(said)
    for row in range(len(said)):
        ours, theirs = served.ids[row][served.mask[row]], trained.ids[row][trained.mask[row]]
        assert torch.equal(ours, theirs)


@cache
def _built(kind: str) -> tuple[Task[Any, Any, Any], Pretrained]:
    return build(kind)
