"""The tokenizer against transformers' RoBERTa tokenizer built on the same file."""

import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import RobertaTokenizerFast

from xfm.data.tokenizer import (
    MASK_TOKEN,
    SPECIAL_TOKENS,
    Tokenizer,
    has_words,
    normalise_caption,
    train_tokenizer,
)

# Latin with accents, Greek, Cyrillic, Arabic, Devanagari, CJK, Hangul, emoji, signs, spaces of several kinds.
SCRIPTS = "azAZ09 éñß Ωλ Жя مرح नमस् 你好日本 한글 😀👩‍🚀 .,!?'-_/()<>\t\n\u00a0\u3000"
texts = st.one_of(
    st.text(st.sampled_from(SCRIPTS), max_size=60),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = ["a red cat sits left of a dog", "the blue house is above the green tree", "你好 мир, it's ok"]
    return train_tokenizer(texts * 9, 330)


@pytest.fixture(scope="module")
def reference(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(path)
    return RobertaTokenizerFast(tokenizer_file=str(path))


@settings(max_examples=60)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4), st.integers(2, 40))
def test_texts_and_pairs_equal_roberta(tokenizer, reference, rows, length):
    first, second = [a for a, _ in rows], [b for _, b in rows]
    short = {"truncation": "longest_first", "padding": True, "return_tensors": "pt"}
    for ours, theirs in (
        (tokenizer.encode_batch(first, length), reference(first, max_length=length, **short)),
        (
            tokenizer.encode_pairs(first, second, length + 2),
            reference(first, second, max_length=length + 2, **short),
        ),
    ):
        assert torch.equal(ours.ids, theirs["input_ids"])
        assert torch.equal(ours.mask, theirs["attention_mask"].bool())


def test_threads_cut_texts_each_at_its_own_length(tokenizer: Tokenizer) -> None:
    """How texts are cut is a state of the library's tokenizer."""
    text = "a red cat sits left of a dog " * 9
    lengths = [4, 40] * 200

    def tokens(length: int) -> int:
        return int(tokenizer.encode_batch([text] * 4, length).mask.sum(1).max())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tokens, lengths)) == lengths


@settings(max_examples=40)
@given(texts)
def test_decode_gives_the_text_back(tokenizer, text):
    encoded = tokenizer.encode_batch([text], 1000)
    if not any(token in text for token in (*SPECIAL_TOKENS, MASK_TOKEN)):
        assert tokenizer.decode(encoded.ids[0]) == text


def test_training_is_deterministic_and_files_round_trip(tokenizer, tmp_path):
    again = train_tokenizer(["a red cat sits left of a dog"] * 9, 300)
    assert again.to_json() == train_tokenizer(["a red cat sits left of a dog"] * 9, 300).to_json()
    tokenizer.save(tmp_path / "tokenizer.json")
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.to_json() == tokenizer.to_json() == pickle.loads(pickle.dumps(tokenizer)).to_json()


def test_normalise_caption():
    assert normalise_caption("  A dog's ball -- (red/blue);  LEFT! ") == "a dog s ball red blue left"
    assert normalise_caption(",.'!?\"()*#:;~-/") == ""
    assert normalise_caption("a b c d", max_words=2) == "a b"
    assert normalise_caption("a_b & c@d") == "a_b & c@d"


def test_has_words_where_something_is_left():
    letters = map(chr, range(sys.maxunicode + 1))
    assert [one for one in letters if has_words(f" .{one}\n") != bool(normalise_caption(one))] == []
    assert not has_words("")


def test_a_book_in_one_cell_is_not_made_into_tokens(tokenizer):
    """Twenty texts of four megabytes took gigabytes and a minute, for 40 tokens of each."""
    words = "a red cat sits left of a dog; "
    book = words * (4_000_000 // len(words))
    began = time.process_time()
    ours = tokenizer.encode_batch([book] * 20, 40)
    pairs = tokenizer.encode_pairs([book] * 20, ["a cat"] * 20, 40)
    assert tokenizer.encode_lists([book] * 20, 40)[0][0] == ours.ids[0].tolist()
    assert time.process_time() - began < 10
    assert torch.equal(ours.ids[:1], tokenizer.encode_batch([words * 40], 40).ids)
    assert torch.equal(pairs.ids[:1], tokenizer.encode_pairs([words * 40], ["a cat"], 40).ids)


@pytest.mark.parametrize("text", ["a red  cat, sits; ", "\u0301a"])
@pytest.mark.parametrize("longest", [5, 512])
def test_the_beginning_of_a_text_gives_its_first_tokens(
    tokenizer: Tokenizer, text: str, longest: int
) -> None:
    long = text * (60_000 // len(text))
    with pytest.MonkeyPatch.context() as whole:
        whole.setattr(Tokenizer, "_beginnings", lambda self, texts, _: list(texts))
        expected = tokenizer.encode_lists([long, "a cat"], longest)
    assert tokenizer.encode_lists([long, "a cat"], longest) == expected
