"""Several labels a row against scikit-learn, on random and adversarial inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from xfm.metrics.labels import (
    average_precision,
    best_threshold,
    exact_matches,
    label_flags,
    label_metrics,
    micro_f1,
    precision_recall_f1_of_labels,
)

SampledRows = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def drawn(draw: st.DrawFn) -> SampledRows:
    """Truth, labels that are given and scores, [N, C]: with ties, and labels that no row has.

    Of one column scikit-learn would believe that it is two classes.
    """
    rows, labels, seed = draw(st.integers(1, 30)), draw(st.integers(2, 6)), draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    often = rng.choice([0.0, 0.2, 0.6, 1.0], labels)
    steps = draw(st.sampled_from([2, 7, 1000]))
    scores = rng.integers(0, steps, (rows, labels)) / steps
    return rng.random((rows, labels)) < often, rng.random((rows, labels)) < 0.4, scores


@given(drawn())
def test_metrics_are_scikit_learns(given: SampledRows) -> None:
    truth, guess, scores = given
    found = label_metrics(truth, guess, scores)
    # Without a label anywhere scikit-learn leaves undefined what is 0 here.
    micro = metrics.f1_score(truth, guess, average="micro", zero_division=0)
    assert found["f1_micro"] == pytest.approx(micro)
    occur = np.flatnonzero(truth.any(axis=0) | guess.any(axis=0))
    macro = [metrics.f1_score(truth[:, at], guess[:, at], zero_division=0) for at in occur]
    assert found["f1_macro"] == pytest.approx(np.mean(macro) if macro else 0)
    assert found["exact_match"] == pytest.approx(metrics.accuracy_score(truth, guess))
    there = truth.any(axis=0)
    each = [metrics.average_precision_score(truth[:, at], scores[:, at]) for at in np.flatnonzero(there)]
    assert found["mean_ap"] == pytest.approx(np.mean(each) if each else 0)
    assert exact_matches(truth, guess).mean() == pytest.approx(found["exact_match"])
    right = metrics.precision_recall_fscore_support(truth, guess, zero_division=0, average=None)
    np.testing.assert_allclose(precision_recall_f1_of_labels(truth, guess), np.stack(right[:3], axis=1))


@given(drawn())
def test_the_threshold_is_the_best_of_all(given: SampledRows) -> None:
    truth, _, scores = given
    found = best_threshold(scores, truth, 0.5)
    if not truth.any():
        assert found == 0.5
        return
    ours = micro_f1(truth, scores >= found)
    assert 0 < found <= 1
    # A score of 0 is never given: the model rules the label out.
    tried = [micro_f1(truth, scores >= one) for one in np.unique(scores) if one > 0]
    assert ours == pytest.approx(max([*tried, 0.0]))
    between = np.unique(scores)
    assert np.abs(between - found).min() > 0


def test_average_precision_of_hand_worked_lists() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    assert average_precision(scores, np.array([True, False, True, False])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.ones(4), np.array([True, False, False, False])) == 0.25
    assert average_precision(scores, np.zeros(4, dtype=bool)) == 0


def test_flags_pass_over_what_has_no_name() -> None:
    found = label_flags([("a", "c"), (), ("x", "b")], ("a", "b", "c"))
    assert found.tolist() == [[True, False, True], [False, False, False], [False, True, False]]
    assert label_flags([], ("a",)).shape == (0, 1)
