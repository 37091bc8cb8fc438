"""From predictions to metrics, against scikit-learn."""

from pathlib import Path

from xfm.evaluation.benchmarks.scorers import given_answers, name_of, score_answers, score_truth
from xfm.metrics.classification import ClassPrediction
from xfm.tasks.rows import PicturePair, Question

PICTURE = Path("a.jpg")


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
