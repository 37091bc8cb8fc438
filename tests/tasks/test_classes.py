"""Metrics of classes equal scikit-learn's, and names stand in a fixed order."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from xfm.errors import UserError
from xfm.tasks.classes import (
    Choice,
    Labels,
    class_metrics,
    class_names,
    most_frequent_label,
    require_classes,
)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 40))
def test_metrics_are_those_of_scikit_learn(seed: int, classes: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    known = Labels(tuple(f"c{place:02d}" for place in range(classes)))
    logits, places = rng.normal(size=(count, classes)), rng.integers(classes, size=count)
    truth, choices = [known.names[place] for place in places], known.choices(torch.from_numpy(logits))
    guess, found = [choice.label for choice in choices], class_metrics(truth, choices, known.names)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["f1_macro"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
        assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(truth, guess), abs=1e-12)
    if classes > 5:
        expected = reference.top_k_accuracy_score(places, logits, k=5, labels=np.arange(classes))
        assert found["top5"] == pytest.approx(expected)


@given(st.lists(st.one_of(st.integers(-50, 50).map(str), st.text(max_size=3)), min_size=1, max_size=12))
def test_names_are_ordered_whatever_the_order_of_the_rows(names: list[str]) -> None:
    found = class_names(names)
    assert found == class_names(names[::-1])
    assert set(found) == set(names)
    assert class_names(["10", "9", "x", "-1", "9"]) == ("-1", "9", "10", "x")


def test_choices_have_the_probabilities_of_all_classes() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    known = Labels(("x", "y", "z"))
    found = known.choices(logits)
    assert [one.label for one in found] == ["y", "x"]
    assert found[0].best == ("y", "z", "x")
    torch.testing.assert_close(torch.tensor([one.probabilities for one in found]), logits.softmax(-1))
    assert known.probability(found[0], "z") == pytest.approx(float(logits[0].softmax(-1)[2]))
    assert known.probability(Choice("x", (1.0, 0.0, 0.0)), "nowhere") == 0
    assert known.indices(["z", "x"]).tolist() == [2, 0]


def test_guesses_have_five_classes_that_differ() -> None:
    known = Labels(tuple("abcdefgh"))
    guesses = known.guess(4000, np.random.default_rng(0))
    assert all(len(set(one.best)) == 5 and one.best[0] == one.label for one in guesses)
    assert class_metrics(["c"] * 4000, guesses, known.names)["top5"] == pytest.approx(5 / 8, abs=0.03)
    few = Labels(("a", "b"))
    assert "top5" not in class_metrics(["a"], few.guess(1, np.random.default_rng(0)), few.names)


def test_the_most_frequent_label() -> None:
    assert most_frequent_label(["b", "a", "b", "a", "c"]) == "a"
    assert most_frequent_label(["b", "b", "a"]) == "b"
    for names in ((), ("one",)):
        with pytest.raises(UserError, match="at least two"):
            require_classes(names)


def test_a_class_with_a_long_name_costs_no_more_memory_than_it_has() -> None:
    """numpy's texts would all be as wide as the longest: a label that is a whole document took gigabytes."""
    names = ("a", "b" * 50_000)
    truth = [names[n % 2] for n in range(500)]
    predicted = [Labels(names).certain(label) for label in truth]
    tracemalloc.start()
    try:
        assert class_metrics(truth, predicted, names)["mcc"] == 1
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
