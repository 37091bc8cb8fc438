"""Kept tokens are those that the tokenizer makes, whatever was asked before."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.data.collate import TokenCache
from xfm.data.masking import maskable
from xfm.data.tokenizer import Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a red cat sits left of the caterpillar", "the blue house"] * 5, 300)


texts = st.lists(st.text(st.sampled_from("a cat house. </s> 你é"), max_size=30), max_size=6)


@settings(max_examples=100)
@given(st.lists(st.tuples(texts, st.integers(2, 12), st.booleans()), max_size=6), st.integers(0, 60))
def test_as_the_tokenizer_says(tokenizer, calls, room):
    known = TokenCache(tokenizer, room)
    for rows, longest, whole in calls * 2:
        found = [(row.ids, row.words) for row in known.read(rows, longest, whole)]
        encoded = tokenizer.encode_lists(rows, longest)
        assert found == [(ids, maskable(ids, words, whole, tokenizer)) for ids, words in encoded]


def test_a_text_is_tokenised_once(tokenizer, monkeypatch):
    asked: list[str] = []
    encode = tokenizer.encode_lists
    monkeypatch.setattr(
        tokenizer, "encode_lists", lambda rows, longest: asked.extend(rows) or encode(rows, longest)
    )
    known = TokenCache(tokenizer)
    first = known.read(["a cat", "a house", "a cat"], 9, True)
    assert known.read(["a house", "a cat"], 9, True) == [first[1], first[0]]
    assert asked == ["a cat", "a house"]
    known.read(["a cat"], 3, True)
    known.read(["a cat"], 9, False)
    assert asked == ["a cat", "a house", "a cat", "a cat"]


def test_room_is_for_tokens(tokenizer):
    size = len(tokenizer.encode_lists(["a cat"], 9)[0][0])
    known = TokenCache(tokenizer, size)
    known.read(["a cat", "a house"], 9, True)
    assert len(known) == 1
    assert len(TokenCache(tokenizer, size - 1).read(["a cat"], 9, True)[0].ids) == size
