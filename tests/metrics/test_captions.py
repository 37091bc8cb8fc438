"""Against pycocoevalcap's own scorers and, where Java is there, its whole official path."""

import random
import shutil

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.alike import thorough
from xfm.core.errors import UserError
from xfm.metrics.captions import caption_scores, has_official_tokenizer

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


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(st.integers(0, 2**16))
def test_scores_are_those_of_the_official_scorers(seed: int) -> None:
    """Plain words need no cutting, so that the scorers can be called directly."""
    predicted, given = corpus(seed)
    found = caption_scores(predicted, given, official=False, meteor=False)
    expected = official_scores({key: [text] for key, text in predicted.items()}, given)
    assert found == pytest.approx({**expected, "official_words": 0.0}, abs=1e-12)


def test_the_order_of_pictures_does_not_matter() -> None:
    predicted, given = corpus(7)
    turned = {key: predicted[key] for key in reversed(list(predicted))}
    both = [caption_scores(one, given, official=False, meteor=False) for one in (predicted, turned)]
    assert both[0] == pytest.approx(both[1])


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


@needs_java
def test_both_cutters_agree_on_ordinary_captions() -> None:
    scores = []
    for official in (True, False):
        values = []
        for seed in range(20):
            predicted, given = corpus(seed, plain=False)
            values.append(caption_scores(predicted, given, official, meteor=False)["cider_d"])
        scores.append(np.mean(values))
    assert scores[0] == pytest.approx(scores[1], rel=0.02)


def test_without_java_the_plain_cutter_is_taken_and_meteor_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not has_official_tokenizer()
    predicted, given = corpus(1)
    found = caption_scores(predicted, given)
    assert found.keys() == {"bleu1", "bleu2", "bleu3", "bleu4", "cider_d", "rouge_l", "official_words"}
    with pytest.raises(UserError, match="needs Java"):
        caption_scores(predicted, given, official=True)


@pytest.mark.parametrize(("predicted", "given"), [({1: "a"}, {2: ["a"]}), ({}, {})])
def test_every_picture_needs_a_caption_and_references(predicted, given) -> None:
    with pytest.raises(ValueError, match="caption for each"):
        caption_scores(predicted, given)
