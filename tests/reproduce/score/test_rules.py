"""From predictions to metrics, against scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from xfm.reproduce.score.rules import (
    given_answers,
    name_of,
    pair_scorer,
    score_answers,
    score_classes,
    score_truth,
)
from xfm.tasks.classes import Choice
from xfm.tasks.rows import Labelled, LabelledPictureText, PicturePair, Question

PICTURE = Path("a.jpg")


def choices(seed: int, classes: tuple[str, ...], rows: int) -> tuple[list[Choice], list[str]]:
    """Random predictions, with ties, and true classes; two rows of different classes at least."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.dirichlet(np.ones(len(classes)), rows), 1 + seed % 3)
    truth = [classes[place] for place in [0, 1, *rng.integers(len(classes), size=rows - 2)]]
    best = [tuple(classes[place] for place in np.argsort(-row, kind="stable")[:5]) for row in scores]
    chosen = [Choice(own[0], tuple(row), own) for row, own in zip(scores, best, strict=True)]
    return chosen, truth


@pytest.mark.parametrize("seed", range(150))
def test_pairs(seed: int) -> None:
    classes = ("no", "yes") if seed % 3 else ("entailment", "neutral", "contradiction")
    predictions, truth = choices(seed, classes, 2 + seed % 30)
    rows = [LabelledPictureText(PICTURE, "x", label) for label in truth]
    found = pair_scorer(classes)(rows, predictions)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, [p.label for p in predictions]))
    assert ("auroc" in found) == (len(classes) == 2)
    if len(classes) == 2:
        scores = [p.probabilities[1] for p in predictions]
        expected = metrics.roc_auc_score([label == "yes" for label in truth], scores)
        assert found["auroc"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(100))
def test_mean_per_class(seed: int) -> None:
    predictions, truth = choices(seed, tuple("abcdefg"[: 5 + seed % 3]), 7 + seed % 40)
    found = score_classes([Labelled(PICTURE, label) for label in truth], predictions)
    assert ("top5" in found) == (seed % 3 > 0)
    assert found.get("top5", 1.0) >= found["accuracy"]
    given = [p.label for p in predictions]
    occurring = [metrics.recall_score(truth, given, labels=[c], average=None)[0] for c in set(truth)]
    assert found["mean_per_class"] == pytest.approx(np.mean(occurring))


def test_truth_and_consistency() -> None:
    rows = [PicturePair((PICTURE, PICTURE), "x", bool(n % 2), f"dev-1-{n}-0") for n in range(4)]
    right = [Choice(str(row.label).lower(), (0.5, 0.5)) for row in rows]
    assert score_truth(rows, right) == {"accuracy": 1.0, "consistency": 1.0}
    assert score_truth(rows, [True, True, True, True]) == {"accuracy": 0.5, "consistency": 0.0}
    assert name_of(True) == "true"


def test_votes_give_the_answers_of_ten_people_back() -> None:
    given = ["blue"] * 4 + ["dark blue"] * 5 + ["navy"]
    votes = tuple((answer, given.count(answer) / 10) for answer in dict.fromkeys(given))
    row = Question(PICTURE, "what?", "dark blue", "other", votes, 1)
    assert sorted(given_answers(row)) == sorted(given)
    assert score_answers([row], ["navy"]) == {"accuracy": 0.3, "accuracy_other": 0.3}
    assert score_answers([row], ["Blue"]) == {"accuracy": 1.0, "accuracy_other": 1.0}
