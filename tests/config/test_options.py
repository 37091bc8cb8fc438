"""Every field of every configuration has an option with a type, a text and a range; words are members."""

import math
import re
from dataclasses import field, fields, make_dataclass, replace
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
from xfm.config.probing import FrozenConfig, Method
from xfm.config.ranges import LARGEST, check_range
from xfm.config.recipe import Recipe
from xfm.config.typed import kinds_of
from xfm.config.world import WorldConfig
from xfm.core.errors import UserError

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


CORPORA = "--data.pair.corpora"


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ([CORPORA, "own.tar"], "", "give a list in quotes such as '[{path: PATH}]', not own.tar"),
        ([CORPORA, "[{path: a, wieght: 2}]"], "", "data.pair.corpora.0.wieght; did you mean weight?"),
        ([CORPORA, "[{class_path: os.path}]"], "", "unknown field data.pair.corpora.0.class_path"),
        ([], "own.tar", "own.tar"),
    ],
)
def test_corpora_that_are_none_are_named(options, environment, words, monkeypatch):
    """Without a word of the parser's own trials, such as to import a class of that name."""
    if environment:
        monkeypatch.setenv("XFM_PRETRAIN_DATA__PAIR__CORPORA", environment)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        parse(Recipe, options, env_prefix="XFM_PRETRAIN")
    assert "data.pair.corpora" in str(caught.value)
    assert not re.search("import|No module|Problem with|<class", str(caught.value))


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


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("yes,no", ["yes", "no"]),  # no truth values
        ("[yes, no]", ["yes", "no"]),
        ("'a, b', c", ["a, b", "c"]),
        ("a photo, not a drawing, of {}", ["a photo, not a drawing, of {}"]),
        ('["a {}", "the, {}"]', ["a {}", "the, {}"]),
        ("it's, a dog's", ["it's", "a dog's"]),
    ],
)
def test_lists_of_texts_are_texts(written: str, meant: list[str]) -> None:
    kind = make_dataclass("Named", [("names", list[str], field(default_factory=list))])
    assert parse(kind, ["--names", written]).names == meant


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
        (FinetuneConfig, "tune", {"language": "lora"}, r"tune is of type dict: give a TuningConfig\(...\)"),
        (FrozenConfig, "methods", ["svm"], "methods: 'svm' is none of linear, knn, zero-shot"),
        (FinetuneConfig, "lr", [1e-4], r"lr is \[0.0001\]: give a number"),
    ]
    for kind, name, value, said in cases:
        with pytest.raises(ValueError, match=rf"^{said}$"):
            kind(**{name: value})


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


def test_numbers_are_held_against_one_another() -> None:
    for refused, taken in (
        ({"objects": 160}, {"objects": 160, "heldout_objects": 40}),
        ({"objects": 99, "heldout_objects": 0}, {"objects": 0}),
        ({"shard_size": 7}, {"shard_size": 7, "twins": 0}),
        ({"twins": 5}, {"twins": 5, "scale": 0.5}),  # 8 of them
    ):
        with pytest.raises(ValueError, match=next(iter(refused))):
            replace(WorldConfig(), **refused)
        replace(WorldConfig(), **taken).resolved()
