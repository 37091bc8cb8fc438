"""Tokenizer files that make the library panic or take all memory are refused as others are."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.tiny import tiny_pretrained
from xfm.data.tokenizer import Tokenizer
from xfm.errors import UserError

LACKING = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {},
}
CHARSMAP = {"type": "Precompiled", "precompiled_charsmap": "/////w=="}  # claims 4 GiB


@pytest.mark.parametrize(
    "changes",
    [
        {"post_processor": LACKING},
        {"normalizer": CHARSMAP},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, CHARSMAP]}},
    ],
)
def test_panics_are_sentences(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "tokenizer.json"
    tiny_pretrained().tokenizer.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=r"not a tokenizer\.json") as found:
        Tokenizer.load(path)
    assert str(path) in str(found.value)
