"""Tokenizer files that make the library panic or take all memory are refused as others are."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, pre_tokenizers

from tests.evaluation.tiny import tiny_pretrained
from tests.interop.foreign import unigram_pieces, write_byte_level, write_word_piece
from tests.refusals import expect_refusal
from xfm.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from xfm.data.tokenizer_file import KNOWN_PATTERNS
from xfm.models.interop.sources import read_tokenizer

LACKING = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {},
}
CHARSMAP = {"type": "Precompiled", "precompiled_charsmap": "/////w=="}  # claims 4 GiB


def replace(pattern: str, content: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def sequence(name: str, parts: list[Any]) -> dict[str, Any]:
    return {"type": "Sequence", name: parts}


def split(pattern: str) -> dict[str, Any]:
    kind = {"behavior": "Isolated", "invert": False}
    return {"type": "Split", "pattern": {"Regex": pattern}, **kind}


def template(index: object) -> dict[str, Any]:
    pieces = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pieces.append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    tokens = {
        "<s>": {"id": "<s>", "ids": [index], "tokens": ["<s>"]},
        "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]},
    }
    return {"type": "TemplateProcessing", "single": pieces, "pair": pieces, "special_tokens": tokens}


def write(path: Path, **changes: Any) -> Path:
    tiny_pretrained().tokenizer.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


DEEP: Any = {"type": "NFC"}
for _ in range(40):
    DEEP = sequence("normalizers", [DEEP])
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")
ADDED = dict.fromkeys(FLAGS, False) | {"content": "<x>", "special": True}
ROBERTA = {"type": "RobertaProcessing", "sep": ["</s>", 10**9], "cls": ["<s>", 0]}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"post_processor": LACKING}, "not a tokenizer.json"),  # the library panics of these three
        ({"normalizer": CHARSMAP}, "not a tokenizer.json"),
        ({"normalizer": sequence("normalizers", [replace("a", "aa")] * 32)}, "normalizer and pre_tokenizer"),
        ({"normalizer": sequence("normalizers", [replace("", "a", "Regex")] * 32)}, "normalizers[0].pattern"),
        ({"normalizer": replace("a", "b" * 10_000_000)}, "normalizer.content"),
        ({"normalizer": replace("(a+)+b", "c", "Regex")}, "normalizer.pattern: "),
        ({"normalizer": DEEP}, "too deep"),
        ({"post_processor": template(10**9)}, "1000000000 is not in 0 to"),
        ({"post_processor": ROBERTA}, "post_processor.sep[1]: 1000000000"),
        ({"added_tokens": [ADDED | {"id": 2**31}]}, "added_tokens: 2147483648 is no id"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 10**12}, "unk_token": "a"}}, "model.vocab: 1000000"),
    ],
)
def test_the_part_that_would_harm_is_named(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    path = write(tmp_path / "tokenizer.json", **changes)
    with expect_refusal(str(path), part):
        Tokenizer.load(path)


@pytest.mark.parametrize("pattern", sorted(KNOWN_PATTERNS))
def test_known_patterns_are_read_and_take_a_while_at_most(tmp_path: Path, pattern: str) -> None:
    """On the longest texts that are made into tokens: runs of what their parts repeat, ended by another."""
    Tokenizer.load(write(tmp_path / "tokenizer.json", pre_tokenizer=split(pattern)))
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    runs = (" ", "\n", " \n", "a", "A", "aA", "1", "'", "'s", "/", "!", "\u4e00", "\u0301", "<|", "\u2581")
    for run in runs:
        began = time.process_time()
        assert cut.pre_tokenize_str((run * 65_535)[:65_535] + "x")
        assert time.process_time() - began < 10  # where it backtracks, some 30


def test_a_name_twice_does_not_hide_a_part(tmp_path: Path) -> None:
    """What has been checked is what the library reads, whichever of the two it would have taken."""
    path = write(tmp_path / "tokenizer.json")
    bomb = json.dumps(sequence("normalizers", [replace("a", "aa")] * 20))
    path.write_text(f'{{"normalizer": {bomb}, ' + path.read_text()[1:])
    assert Tokenizer.load(path).encode_batch(["a" * 100], 300).ids.shape[1] <= 102


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
MODERN = {"normalizer": {"type": "NFC"}, "pre_tokenizer": BYTES, "post_processor": template(0)}


def test_tokenizers_of_known_models_are_read(tmp_path: Path) -> None:
    """ByteLevel as ModernBERT has it; RoBERTa's, BERT's and XLM-R's, each from the file that they save."""
    assert Tokenizer.load(write(tmp_path / "modern.json", **MODERN, padding=None)).bos == 0
    for name, made in (("bpe", write_byte_level), ("piece", write_word_piece)):
        (tmp_path / name).mkdir()
        made(tmp_path / name)
        first = read_tokenizer(tmp_path / name)
        first.save(tmp_path / f"{name}.json")
        again = Tokenizer.load(tmp_path / f"{name}.json")
        assert again.encode_lists(["a red circle"], 20) == first.encode_lists(["a red circle"], 20)
    pieces = unigram_pieces()
    table = (0).to_bytes(4, "little") + b"\0".join(["\ufdfa".encode() * 11, b"a"])
    charsmap = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    words = [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581"}]
    xlmr = {
        "model": {"type": "Unigram", "unk_id": 3, "vocab": pieces, "byte_fallback": False},
        "normalizer": sequence("normalizers", [charsmap, replace(" {2,}", " ", "Regex")]),
        "pre_tokenizer": sequence("pretokenizers", words),
    }
    mask = {**ADDED, "content": "<mask>", "id": len(pieces) - 1, "lstrip": True}
    special = [ADDED | {"content": token, "id": index} for index, token in enumerate(SPECIAL_TOKENS)]
    found = Tokenizer.load(write(tmp_path / "xlmr.json", **xlmr, added_tokens=[*special, mask]))
    assert found.mask == len(pieces) - 1
