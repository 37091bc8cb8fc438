"""Against pycocoevalcap's own scorers and, where Java is there, its whole official path."""

import json
import random
import shutil
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.alike import thorough
from xfm.core.errors import UserError
from xfm.metrics.captions import caption_scores, caption_words, has_official_tokenizer

pytest.importorskip("pycocoevalcap")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
WORDS = ("a", "dog", "cat", "man", "red", "big", "sits", "on", "the", "grass", "with", "two", "near", "bus")


def corpus(seed: int, plain: bool = True) -> tuple[dict[int | str, str], dict[int | str, list[str]]]:
    """Predictions and references of a few pictures; some are empty, equal or share nothing."""
    rng = random.Random(seed)

    def text() -> str:
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 12))]
        if plain:
            return " ".join(words)
        words = [
            w + rng.choice(["'s", ",", "!", '"', ".", "-old"]) if rng.random() < 0.2 else w for w in words
        ]
        return " ".join(words).capitalize() + rng.choice([".", "...", " .", "\n"])

    given: dict[int | str, list[str]] = {
        key: [text() for _ in range(rng.randint(1, 6))] for key in rng.sample(range(1000), rng.randint(1, 8))
    }
    predicted: dict[int | str, str] = {
        key: rng.choice([references[0], text(), text(), text(), "zebra"]) for key, references in given.items()
    }
    return predicted, given


def official_scores(candidates, references) -> dict[str, float]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    bleu = Bleu(4).compute_score(references, candidates, verbose=0)[0]
    values = {f"bleu{place}": value for place, value in enumerate(bleu, start=1)}
    others = {"cider_d": Cider(), "rouge_l": Rouge()}
    return values | {name: one.compute_score(references, candidates)[0] for name, one in others.items()}


@hypothesis.settings(max_examples=40)
@hypothesis.given(st.integers(0, 2**16))
def test_scores_are_those_of_the_official_scorers(seed: int) -> None:
    """Plain words need no cutting, so that the scorers can be called directly."""
    predicted, given = corpus(seed)
    found = caption_scores(predicted, given, official=False, meteor=False)
    expected = official_scores({key: [text] for key, text in predicted.items()}, given)
    assert found == pytest.approx({**expected, "official_words": 0.0}, abs=1e-12)


@thorough
@needs_java
def test_the_whole_official_path() -> None:
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    predicted, given = corpus(2, plain=False)
    found = caption_scores(predicted, given)
    assert found.pop("official_words") == 1.0
    references = PTBTokenizer().tokenize({k: [{"caption": t} for t in ts] for k, ts in given.items()})
    candidates = PTBTokenizer().tokenize({k: [{"caption": t}] for k, t in predicted.items()})
    expected = official_scores(candidates, references)
    expected["meteor"] = Meteor().compute_score(references, candidates)[0]
    assert found == pytest.approx(expected, abs=1e-9)


def test_without_java_the_plain_cutter_is_taken_and_meteor_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not has_official_tokenizer()
    predicted, given = corpus(1)
    found = caption_scores(predicted, given)
    assert found.keys() == {"bleu1", "bleu2", "bleu3", "bleu4", "cider_d", "rouge_l", "official_words"}
    with pytest.raises(UserError, match="needs Java"):
        caption_scores(predicted, given, official=True)


OFFICIAL_WORDS = Path(__file__).parents[1] / "golden" / "scorers" / "words.json"
SPELLED = json.loads(OFFICIAL_WORDS.read_text())["captions"]
ORDINARY = 27  # the first ones are captions as people write them, the others were generated to be difficult


def test_ordinary_captions_are_cut_as_the_official_tokenizer_does() -> None:
    for caption, words in SPELLED[:ORDINARY]:
        assert " ".join(caption_words(caption)) == words


def test_nearly_all_difficult_captions_too() -> None:
    hard = SPELLED[ORDINARY:]
    assert len(hard) == 400
    equal = sum(" ".join(caption_words(caption)) == words for caption, words in hard)
    assert equal / len(hard) >= 0.98


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_words_have_no_spaces_and_no_capitals(caption: str) -> None:
    words = caption_words(caption)
    assert all(word and not any(sign.isspace() for sign in word) for word in words)
    assert all(word == word.lower() for word in words)


@settings(max_examples=60)
@given(st.lists(st.from_regex(r"[a-z]{3,9}", fullmatch=True), max_size=12))
def test_plain_words_stay_as_they_are(words: list[str]) -> None:
    ordinary = [word for word in words if word not in ("cannot", "gonna", "gotta", "wanna", "lemme", "gimme")]
    assert caption_words(" ".join(ordinary)) == ordinary


@needs_java
def test_a_thousand_captions_against_the_official_tokenizer() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    rng = random.Random(0)
    things = ["dog", "woman", "street", "zebra", "t-shirt", "stop-sign", "men", "O'Neil", "St.", "U.S."]
    others = ["red", "two", "10", "1,000", "3.5", "isn't", "can't", "with", "and", "the", "it's", "wasn't"]
    captions = []
    for _ in range(1000):
        words = [rng.choice(rng.choice([things, others])) for _ in range(rng.randint(3, 10))]
        words = [w + "'s" if w.isalpha() and rng.random() < 0.1 else w for w in words]
        words = [w + rng.choice(",;:!?") if rng.random() < 0.1 else w for w in words]
        captions.append(" ".join(words).capitalize() + rng.choice([".", "", "!", "..."]))
    cut = PTBTokenizer().tokenize({place: [{"caption": caption}] for place, caption in enumerate(captions)})
    ours = {place: [" ".join(caption_words(caption))] for place, caption in enumerate(captions)}
    differing = [captions[place] for place in ours if ours[place] != cut[place]]
    assert len(differing) <= 5, differing
