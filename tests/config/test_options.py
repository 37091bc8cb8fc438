"""Every field of every configuration has an option with a type, a text and a range; words are members."""

import math
import re
from dataclasses import fields
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refusals import expect_refusal
from xfm.config.data import CorpusConfig
from xfm.config.evaluation import EvaluationConfig, Part
from xfm.config.finetune import FinetuneConfig, TuningConfig
from xfm.config.image import ImageTrainingConfig
from xfm.config.options import add_fields, new_parser, parse
from xfm.config.plain import first_difference, to_plain
from xfm.config.probing import FrozenConfig
from xfm.config.recipe import Recipe
from xfm.config.typed import LARGEST, check_range, kinds_of
from xfm.config.world import WorldConfig

KINDS = [Recipe, WorldConfig, EvaluationConfig]


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_the_dataclass(kind):
    assert parse(kind) == kind()


@pytest.mark.parametrize("written", ["[vqa, retrieval]", "vqa,retrieval", "vqa, retrieval"])
def test_lists_of_enums_need_no_brackets(written):
    assert parse(EvaluationConfig, [f"--parts={written}"]).parts == [Part.VQA, Part.RETRIEVAL]
    assert parse(EvaluationConfig, ["--parts", "vqa"]).parts == [Part.VQA]
    with expect_refusal("'vqaa' is none of retrieval"):
        parse(EvaluationConfig, ["--parts", "[vqaa]"])


def test_hyphens_and_bare_switches():
    config = parse(EvaluationConfig, ["--validation", "--batch-size", "3", "--vqa.test-rows=7"])
    assert (config.validation, config.batch_size, config.vqa.test_rows) == (True, 3, 7)
    assert not parse(EvaluationConfig, ["--validation", "false", "--seed", "1"]).validation
    assert parse(EvaluationConfig, ["--seed", "1", "--validation=true"]).validation


@pytest.mark.parametrize("value", ["{path: a, weight: 2}", "[{path: a, weight: 2}]"])
def test_corpora_on_the_command_line(value):
    corpora = parse(Recipe, ["--data.pair.corpora", value]).data.pair.corpora
    assert corpora == [CorpusConfig("a", 2.0)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_text_for_readers(kind):
    parser = new_parser()
    add_fields(parser, kind)
    assert not [action.dest for action in parser._actions if not action.help]
    shown = parser.format_help()
    for noise in ("CONFIG", "required", "print_shtab", "type:", ".help", "+", "Config`", "null", "init_args"):
        assert noise not in shown, noise
    headings = re.findall(r"^(\S.*):$", shown, re.MULTILINE)
    assert len(set(headings)) == len(headings)


WORDED: list[Any] = [FinetuneConfig, TuningConfig, ImageTrainingConfig, FrozenConfig]
WORDS = [
    (kind, name, member)
    for kind in WORDED
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
    for kind in WORDED:
        found = {one.name for one in fields(kind) if isinstance(getattr(kind(), one.name), Enum)}
        assert found <= set(kinds_of(kind))
    assert set(kinds_of(TuningConfig)) == {"language", "vision", "fusion"}  # None by default


plain = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)


@given(plain, plain)
def test_a_difference_is_one(a, b):
    assert to_plain(a) == a
    assert first_difference(a, a) is None
    if (found := first_difference(a, b)) is not None:
        name, old, new = found
        assert old != new
        for part in name.split(".") if name else []:
            a, b = a.get(part), b.get(part)
        assert (a, b) == (old, new)


@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, -math.inf, LARGEST + 1, 10**400, 1e300])
def test_what_lies_outside_is_named(value: float) -> None:
    with pytest.raises(ValueError, match=r"^a is .*: choose a number (at least 0|from 0 to 9\.22337e\+18)$"):
        check_range("a", value, 0)
