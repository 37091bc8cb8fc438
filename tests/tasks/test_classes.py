"""Names of classes stand in a fixed order, and choices and guesses have those of a head."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfm.core.errors import UserError
from xfm.metrics.classification import ClassPrediction, class_metrics
from xfm.tasks.labelling import OneLabel, class_names, most_frequent_label, require_classes


@given(st.lists(st.one_of(st.integers(-50, 50).map(str), st.text(max_size=3)), min_size=1, max_size=12))
def test_names_are_ordered_whatever_the_order_of_the_rows(names: list[str]) -> None:
    found = class_names(names)
    assert found == class_names(names[::-1])
    assert set(found) == set(names)
    assert class_names(["10", "9", "x", "-1", "9"]) == ("-1", "9", "10", "x")


def test_choices_have_the_probabilities_of_all_classes() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    known = OneLabel(("x", "y", "z"))
    found = known.predictions(logits)
    assert [one.label for one in found] == ["y", "x"]
    assert found[0].best == ("y", "z", "x")
    torch.testing.assert_close(torch.tensor([one.probabilities for one in found]), logits.softmax(-1))
    assert known.probability(found[0], "z") == pytest.approx(float(logits[0].softmax(-1)[2]))
    assert known.probability(ClassPrediction("x", (1.0, 0.0, 0.0)), "nowhere") == 0
    assert known.targets([("z",), ("x",)]).tolist() == [2, 0]


def test_guesses_have_five_classes_that_differ() -> None:
    known = OneLabel(tuple("abcdefghij"))
    guesses = known.guess(4000, np.random.default_rng(0))
    assert all(len(set(one.best)) == 5 and one.best[0] == one.label for one in guesses)
    assert class_metrics(["c"] * 4000, guesses, known.names)["top5"] == pytest.approx(5 / 10, abs=0.03)
    few = OneLabel(tuple("abcdef"))  # of which five are nearly all
    assert "top5" not in class_metrics(["a"], few.guess(1, np.random.default_rng(0)), few.names)


def test_the_most_frequent_label() -> None:
    assert most_frequent_label(["b", "a", "b", "a", "c"]) == "a"
    assert most_frequent_label(["b", "b", "a"]) == "b"
    for names in ((), ("one",)):
        with pytest.raises(UserError, match="at least two"):
            require_classes(names)
