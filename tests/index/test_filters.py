"""Conditions: how they are written, refused, and what passes them."""

import pytest

from tests.refusals import expect_refusal
from xfm.search.filters import (
    Condition,
    Kind,
    Relation,
    checked,
    merged,
    number_in,
    parse_condition,
    read_metadata,
)

FIELDS = {"kind": Kind.TEXT, "price": Kind.NUMBER, "new": Kind.BOOLEAN, "taken": Kind.DAY}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind = dog, cat", Condition("kind", Relation.EQUAL, ("dog", "cat"))),
        ("kind!=a=b", Condition("kind", Relation.OTHER, ("a=b",))),
        ("price>-1.5", Condition("price", Relation.MORE, (-1.5,))),
        ("new=True", Condition("new", Relation.EQUAL, (True,))),
        ("kind>=2024-01", Condition("kind", Relation.AT_LEAST, ("2024-01",))),
        ("taken>=2024", Condition("taken", Relation.AT_LEAST, ("2024",))),
        ("taken<=2024-06", Condition("taken", Relation.AT_MOST, ("2024-06~",))),  # with all of June
        ("taken=2024-06-15", Condition("taken", Relation.EQUAL, ("2024-06-15",))),
    ],
)
def test_a_condition_is_read(text, expected):
    assert checked([parse_condition(text)], FIELDS) == (expected,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dog", ["kind=dog"]),
        ("kind=a,,b", ["nothing"]),
        ("kindd=a", ["kindd", "did you mean kind"]),
        ("price=cheap", ["price", "number", "cheap"]),
        ("new<true", ["= or !="]),
        ("new=1", ["true or false", "new=true"]),
        ("kind<20", ["kind holds texts", "kind<20", "kind=..."]),
        ("taken>june", ["taken is a day", "june", "taken>=2024-06"]),
        ("taken=2024-06", ["taken= takes days", ">= and <="]),
    ],
)
def test_what_is_none_is_refused(text, words):
    with expect_refusal(*words):
        checked([parse_condition(text)], FIELDS)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-3", -3.0),
        ("19.90", 19.9),
        ("1e300", 1e300),
        ("9007199254740991", 2**53 - 1),
        ("9007199254740993", None),
        ("9" * 5000, None),
        ("007", None),
        ("1,5", None),
        ("nan", None),
        ("\u0663", None),
        ("2024-01-31", None),
    ],
)
def test_a_text_that_is_a_plain_number(text, number):
    assert number_in(text) == number


def test_metadata_are_texts_numbers_and_truth_values():
    found, other = read_metadata(
        {"a": "x", "b": 3, "c": True, "d": None, "e": "", "f": float("nan"), "g": [1]}
    )
    assert found == {"a": "x", "b": 3.0, "c": True}
    assert isinstance(found["b"], float)
    assert other == ["g"]


def test_a_field_is_of_one_kind():
    fields = merged({}, {"a": "x", "b": 1.0})
    assert merged(fields, {"c": True, "a": "y"}) == {"a": Kind.TEXT, "b": Kind.NUMBER, "c": Kind.BOOLEAN}
    with expect_refusal("a is 3", "number", "text"):
        merged(fields, {"a": 3.0})
