"""Sentences for people: what is counted agrees with its count."""

import pytest

from xfm.core.errors import amount


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (0, ("picture",), "0 pictures"),
        (1, ("picture",), "1 picture"),
        (2000, ("picture",), "2,000 pictures"),
        (1, ("class", "classes"), "1 class"),
        (0, ("class", "classes"), "0 classes"),
        (2, ("picture is", "pictures are"), "2 pictures are"),
    ],
)
def test_what_is_counted_agrees_with_its_count(count: int, words: tuple[str, ...], said: str) -> None:
    assert amount(count, *words) == said
