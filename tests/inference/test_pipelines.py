"""Laws of all pipelines: one by one or together, from a folder or from memory, once each."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xfm
from tests.alike import some
from tests.inference.models import EVERY, NEEDS, OPTIONS, inputs, pictures, texts
from tests.inference.support import Models, Pipe, same
from xfm.core.errors import UserError
from xfm.inference.input_parsing import InputError

QUICK = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make(task: str, models: Models, **options: Any) -> Pipe:
    pipe = xfm.pipeline(task, model=models[NEEDS[task]], **options)
    if task == "retrieval":
        pipe.searched = pipe.gallery(images=pictures(7, seed=5))  # type: ignore[attr-defined]
    return pipe


@pytest.mark.parametrize("task", some(EVERY, 3))
@given(seed=st.integers(0, 1000), count=st.integers(1, 13), batch=st.integers(1, 5))
@QUICK
def test_together_as_one_by_one(task: str, models: Models, seed: int, count: int, batch: int) -> None:
    rows, options = inputs(task, count, seed), OPTIONS.get(task, {})
    alone = [make(task, models)(row, **options) for row in rows]
    many = make(task, models, batch_size=batch)
    together = many(rows, **options)
    same([*together], alone)
    streamed = make(task, models, batch_size=batch, readers=count % 4)(iter(rows), **options)
    assert isinstance(streamed, Iterator)
    same([*streamed], alone)


@pytest.mark.parametrize("task", ["retrieval", "vqa", "fill-mask", "captioning"])
def test_each_distinct_picture_is_encoded_once(
    task: str, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, rows = make(task, models, batch_size=2), inputs(task, 24, distinct=3)
    vision, seen = pipe.engine.model.vision, []
    forward = vision.forward

    def counting(pixels: torch.Tensor, *more: Any) -> torch.Tensor:
        seen.extend(row.numpy().tobytes() for row in pixels)
        return forward(pixels, *more)

    monkeypatch.setattr(vision, "forward", counting)
    assert len([*pipe(iter(rows), **OPTIONS.get(task, {}))]) == 24
    assert 1 <= len(seen) <= 3
    assert len(set(seen)) == len(seen)


def test_an_iterator_is_read_as_answers_are_wanted(models: Models) -> None:
    asked = 0

    def endless() -> Iterator[str]:
        nonlocal asked
        while True:
            asked += 1
            yield f"a red square {asked}"

    pipe = make("embed", models, batch_size=2)
    answers = pipe(endless())
    assert asked == 0
    assert next(answers).shape == (16,)
    assert asked == pipe.engine.window == 8
    for _ in range(8):
        next(answers)
    assert asked == 16


@pytest.mark.parametrize("readers", [0, 2])
@pytest.mark.parametrize("bad", [0, 3])
def test_a_bad_input_is_named_after_the_answers_before_it(models: Models, bad: int, readers: int) -> None:
    rows: list[Any] = texts(10)
    rows[bad] = 5.5
    pipe = make("embed", models, batch_size=1, readers=readers)
    found = []
    with pytest.raises(InputError, match=rf"input {bad}: text must be") as error:
        found.extend(pipe(iter(rows)))
    assert error.value.number == bad
    assert len(found) == bad
    skipped: list[tuple[int, str]] = []

    def bad_one(number: int, why: str) -> bool:
        skipped.append((number, why))
        return True

    kept = [n for n, _ in pipe.numbered(rows, bad=bad_one)]
    assert kept == [number for number in range(10) if number != bad]
    assert skipped == [(bad, "text must be a text, not float; give one such as 'a text'")]
    with pytest.raises(UserError, match=r"^text must be a text"):  # one input needs no number
        pipe(5.5)


def test_threads_end_with_the_iterator(models: Models) -> None:
    before = threading.active_count()
    answers = make("embed", models, batch_size=1, readers=3)(iter(pictures(20)))
    next(answers)
    assert threading.active_count() > before
    answers.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("task", ["vqa", "captioning"])
def test_a_task_without_its_head_says_what_to_do(task: str, models: Models) -> None:
    with pytest.raises(UserError, match=f"fine-tuned for {NEEDS[task]}.*`xfm finetune {NEEDS[task]} "):
        xfm.pipeline(task, model=models[None])
    with pytest.raises(UserError, match="was fine-tuned for retrieval; make one"):
        xfm.pipeline(task, model=models["retrieval"])


def test_a_model_of_another_fine_tuning_is_told(models: Models) -> None:
    with pytest.warns(UserWarning, match="was fine-tuned for vqa, which may have changed"):
        xfm.pipeline("embed", model=models["vqa"])


def test_untrained_heads_do_not_answer(models: Models) -> None:
    fresh = replace(models[None], provenance={"fresh": ["fusion.", "itm_head.", "vision.blocks.0.gamma1"]})
    with pytest.raises(UserError, match="uses the part itm_head, which the model has only as it was"):
        xfm.pipeline("image-text-matching", model=fresh)
    xfm.pipeline("embed", model=fresh)
