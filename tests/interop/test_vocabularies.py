"""Tokenisation equals transformers' on 2,000 strings in many scripts, from every kind of file."""

import pickle
from functools import partial
from pathlib import Path

import pytest
from transformers import BertTokenizerFast, RobertaTokenizerFast

from tests.alike import some
from tests.interop.foreign import texts, write_byte_level, write_word_piece
from tests.interop.foreign_models import text_tokenizer
from xfm.models.interop.sources import read_tokenizer

COUNT = 2_000


def byte_level_with_space(folder: Path):
    write_byte_level(folder)
    (folder / "tokenizer_config.json").write_text('{"add_prefix_space": true}')
    return RobertaTokenizerFast.from_pretrained(str(folder), add_prefix_space=True)


def cased_word_piece(folder: Path):
    return BertTokenizerFast.from_pretrained(str(write_word_piece(folder, lower=False)))


KINDS = {
    "byte level": partial(text_tokenizer, "roberta"),
    "byte level with space": byte_level_with_space,
    "word piece": partial(text_tokenizer, "bert"),
    "cased word piece": cased_word_piece,
    "unigram": partial(text_tokenizer, "xlm-roberta"),
}
FILES = [(kind, saved) for kind in KINDS for saved in (False, True) if saved or kind != "unigram"]
"""transformers itself writes no other file of the last kind."""


@pytest.mark.parametrize(("kind", "saved"), some(FILES, 4))
def test_equal_to_transformers(kind, saved, tmp_path):
    """The older files, and the `tokenizer.json` that transformers writes."""
    reference, folder = KINDS[kind](tmp_path / "files"), tmp_path / "files"
    if saved:
        folder = tmp_path / "saved"
        reference.save_pretrained(folder)
    tokenizer = read_tokenizer(folder)
    rows = texts(COUNT)
    assert len(set(rows)) > 0.9 * COUNT
    ours, theirs = tokenizer.encode_batch(rows, 40), reference(rows, truncation=True, max_length=40)
    for i, expected in enumerate(theirs["input_ids"]):
        assert ours.ids[i, : ours.mask[i].sum()].tolist() == expected, rows[i]
    pairs = tokenizer.encode_pairs(rows[:500], rows[500:1000], 60)
    expected = reference(rows[:500], rows[500:1000], truncation="longest_first", max_length=60)["input_ids"]
    for i, ids in enumerate(expected):
        assert pairs.ids[i, : pairs.mask[i].sum()].tolist() == ids
    names = {"cls": "bos", "pad": "pad", "sep": "eos", "unk": "unk", "mask": "mask"}
    for their, our in names.items():
        assert getattr(reference, f"{their}_token_id") == getattr(tokenizer, our)
    assert len(reference) == tokenizer.vocab_size
    assert not set(tokenizer.ordinary_ids.tolist()) & set(reference.all_special_ids)
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode_batch(rows, 40).ids.tolist() == ours.ids.tolist()


def test_random_tokens_of_masking_are_no_special_ones(tmp_path):
    tokenizer = read_tokenizer(write_word_piece(tmp_path / "bert"))
    assert (tokenizer.pad, tokenizer.unk, tokenizer.bos, tokenizer.eos, tokenizer.mask) == (0, 2, 3, 4, 5)
    assert tokenizer.ordinary_ids.tolist() == [1, *range(6, tokenizer.vocab_size)]
