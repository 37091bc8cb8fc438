"""Questions of several terms."""

from pathlib import Path

import pytest

from tests.refusals import expect_refusal
from xfm.search.terms import parse_terms


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("a well-known horse", [(1, "a well-known horse")]),
        ("horse + stripes - brown", [(1, "horse"), (1, "stripes"), (-1, "brown")]),
        ("2 * horse - .5 * hay - 0.25 * hay", [(2, "horse"), (-1, ".5 * hay"), (-0.25, "hay")]),
        ('"a - b" + 3 * "c + d"', [(1, "a - b"), (3, "c + d")]),
        ('a 12" wheel - a 14" wheel', [(1, 'a 12" wheel'), (-1, 'a 14" wheel')]),
        ('"query.jpg"', [(1, "query.jpg")]),
        ("my query.PNG - 2 * night", [(1, Path("my query.PNG")), (-2, "night")]),
    ],
)
def test_a_question_is_read(question, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my query.PNG").touch()
    assert parse_terms(question) == expected


@pytest.mark.parametrize(
    "question", ["horse +", "+ - horse", '"" + a', "0 * horse", "a - 0 * b", "none.jpg - a"]
)
def test_what_is_no_term_is_refused(question):
    with expect_refusal("no picture none.jpg" if "jpg" in question else "no term", "double quotes"):
        parse_terms(question)
