"""From predictions to metrics, against scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from xfm.evaluation.benchmarks.scorers import (
    given_answers,
    name_of,
    pair_scorer,
    score_answers,
    score_classes,
    score_truth,
)
from xfm.metrics.classification import ClassPrediction
from xfm.tasks.rows import Labelled, LabelledPictureText, PicturePair, Question

PICTURE = Path("a.jpg")
Drawn = tuple[tuple[str, ...], list[ClassPrediction], list[str]]


@st.composite
def predictions(draw: st.DrawFn, *classes: tuple[str, ...]) -> Drawn:
    """Classes, predictions with ties, and true classes: two rows of different classes at least."""
    names = draw(st.sampled_from(classes))
    places = st.integers(0, len(names) - 1)
    truth = [names[place] for place in [0, 1, *draw(st.lists(places, max_size=40))]]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = np.round(rng.dirichlet(np.ones(len(names)), len(truth)), draw(st.integers(1, 3)))
    best = [tuple(names[place] for place in np.argsort(-row, kind="stable")[:5]) for row in scores]
    return (
        names,
        [ClassPrediction(own[0], tuple(row), own) for row, own in zip(scores, best, strict=True)],
        truth,
    )


@settings(deadline=None)
@given(predictions(("no", "yes"), ("entailment", "neutral", "contradiction")))
def test_pairs(drawn: Drawn) -> None:
    classes, predicted, truth = drawn
    found = pair_scorer(classes)([LabelledPictureText(PICTURE, "x", label) for label in truth], predicted)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, [p.label for p in predicted]))
    assert ("auroc" in found) == (len(classes) == 2)
    if len(classes) == 2:
        scores = [p.probabilities[1] for p in predicted]
        expected = metrics.roc_auc_score([label == "yes" for label in truth], scores)
        assert found["auroc"] == pytest.approx(expected)


@settings(deadline=None)
@given(predictions(tuple("abcde"), tuple("abcdef"), tuple("abcdefg")))
def test_mean_per_class(drawn: Drawn) -> None:
    classes, predicted, truth = drawn
    found = score_classes([Labelled(PICTURE, label) for label in truth], predicted)
    assert ("top5" in found) == (len(classes) > 5)
    assert found.get("top5", 1.0) >= found["accuracy"]
    labels = [p.label for p in predicted]
    occurring = [metrics.recall_score(truth, labels, labels=[c], average=None)[0] for c in set(truth)]
    assert found["mean_per_class"] == pytest.approx(np.mean(occurring))


def test_truth_and_consistency() -> None:
    rows = [PicturePair((PICTURE, PICTURE), "x", bool(n % 2), f"dev-1-{n}-0") for n in range(4)]
    right = [ClassPrediction(str(row.label).lower(), (0.5, 0.5)) for row in rows]
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
