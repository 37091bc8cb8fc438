"""Against recorded words of the official tokenizer, and against itself where Java is there."""

import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.metrics.captions import caption_words

GOLDEN = Path(__file__).parents[1] / "golden" / "scorers" / "words.json"
RECORDED = json.loads(GOLDEN.read_text())["captions"]
ORDINARY = 27  # the first ones are captions as people write them, the others were generated to be difficult


def test_ordinary_captions_are_cut_as_the_official_tokenizer_does() -> None:
    for caption, words in RECORDED[:ORDINARY]:
        assert " ".join(caption_words(caption)) == words


def test_nearly_all_difficult_captions_too() -> None:
    hard = RECORDED[ORDINARY:]
    assert len(hard) == 400
    equal = sum(" ".join(caption_words(caption)) == words for caption, words in hard)
    assert equal / len(hard) >= 0.98


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_words_have_no_spaces_and_no_capitals(caption: str) -> None:
    words = caption_words(caption)
    assert all(word and not any(sign.isspace() for sign in word) for word in words)
    assert all(word == word.lower() for word in words)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.from_regex(r"[a-z]{3,9}", fullmatch=True), max_size=12))
def test_plain_words_stay_as_they_are(words: list[str]) -> None:
    ordinary = [word for word in words if word not in ("cannot", "gonna", "gotta", "wanna", "lemme", "gimme")]
    assert caption_words(" ".join(ordinary)) == ordinary


@pytest.mark.skipif(shutil.which("java") is None, reason="the official tokenizer needs Java")
def test_a_thousand_captions_against_the_official_tokenizer() -> None:
    tokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer()
    rng = random.Random(0)
    things = ["dog", "woman", "street", "zebra", "t-shirt", "stop-sign", "men", "O'Neil", "St.", "U.S."]
    others = ["red", "two", "10", "1,000", "3.5", "isn't", "can't", "with", "and", "the", "it's", "wasn't"]
    captions = []
    for _ in range(1000):
        words = [rng.choice(rng.choice([things, others])) for _ in range(rng.randint(3, 10))]
        words = [w + "'s" if w.isalpha() and rng.random() < 0.1 else w for w in words]
        words = [w + rng.choice(",;:!?") if rng.random() < 0.1 else w for w in words]
        captions.append(" ".join(words).capitalize() + rng.choice([".", "", "!", "..."]))
    cut = tokenizer.tokenize({place: [{"caption": caption}] for place, caption in enumerate(captions)})
    ours = {place: [" ".join(caption_words(caption))] for place, caption in enumerate(captions)}
    differing = [captions[place] for place in ours if ours[place] != cut[place]]
    assert len(differing) <= 5, differing
