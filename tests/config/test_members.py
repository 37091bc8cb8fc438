"""Enumerations by their words: what a program writes is what a file writes."""

from dataclasses import fields
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfm.config.finetune import FinetuneConfig, TuningConfig
from xfm.config.image import ImageTrainingConfig
from xfm.config.probing import FrozenConfig, Method
from xfm.config.typed import kinds_of

KINDS: list[Any] = [FinetuneConfig, TuningConfig, ImageTrainingConfig, FrozenConfig]
WORDS = [
    (kind, name, member)
    for kind in KINDS
    for name, enum in kinds_of(kind).items()
    if issubclass(enum, Enum)
    for member in enum
]


@given(st.sampled_from(WORDS))
def test_a_word_is_the_member(one: tuple[Any, str, Enum]) -> None:
    kind, name, member = one
    assert getattr(kind(**{name: member.value}), name) is member
    assert getattr(kind(**{name: member}), name) is member
    assert kind(**{name: member.value}) == kind(**{name: member})


def test_every_such_field_is_tried() -> None:
    for kind in KINDS:
        found = {one.name for one in fields(kind) if isinstance(getattr(kind(), one.name), Enum)}
        assert found <= set(kinds_of(kind))
    assert set(kinds_of(TuningConfig)) == {"language", "vision", "fusion"}  # None by default


def test_lists_are_taken_and_what_is_wrong_is_named() -> None:
    (method,) = FrozenConfig(methods=["knn"]).methods  # pyright: ignore[reportArgumentType]
    assert method is Method.KNN
    cases: list[tuple[Any, str, Any, str]] = [
        (
            FinetuneConfig,
            "preset",
            "fats",
            r"preset: 'fats' is none of fast, good, best; did you mean fast\?",
        ),
        (
            TuningConfig,
            "language",
            "Lora",
            r"tune.language: 'Lora' is none of full, freeze, lora; did you mean lora\?",
        ),
        (FinetuneConfig, "tune", {"language": "lora"}, r"tune is of type dict: give a TuningConfig\(...\)"),
        (FrozenConfig, "methods", ["svm"], "methods: 'svm' is none of linear, knn, zero-shot"),
        (FinetuneConfig, "steps", "ten", "steps is 'ten': give a number"),
        (FinetuneConfig, "lr", [1e-4], r"lr is \[0.0001\]: give a number"),
    ]
    for kind, name, value, said in cases:
        with pytest.raises(ValueError, match=rf"^{said}$"):
            kind(**{name: value})
