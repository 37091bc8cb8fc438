"""Metrics against scikit-learn, torchvision, torchmetrics and scipy on random inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, top_k_accuracy_score
from torchmetrics.functional.retrieval import retrieval_hit_rate
from torchvision.ops import box_iou

from xfm.metrics.boxes import accuracy_at_iou, iou_matrix, paired_iou
from xfm.metrics.classification import accuracy, majority_accuracy, most_frequent
from xfm.metrics.intervals import paired_bootstrap, wilson_interval
from xfm.metrics.ranking import chance_recall_at, ranks_of_best_positive, recall_at


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = np.sort(rng.random((count, 2, 2)), axis=1)  # [N, (low, high), (x, y)]
    return corners.reshape(count, 4)


def test_accuracy_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    predicted, true = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    assert accuracy(predicted, true) == pytest.approx(accuracy_score(true, predicted))
    assert accuracy(np.array(["a", "b"]), np.array(["a", "c"])) == 0.5


def test_accuracy_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        accuracy(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="undefined"):
        accuracy(np.zeros(0), np.zeros(0))


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_with_one_positive_is_top_k_accuracy(k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.normal(size=(60, 60))
    found = recall_at(ranks_of_best_positive(scores, np.eye(60, dtype=bool)), k)
    assert found == pytest.approx(top_k_accuracy_score(np.arange(60), scores, k=k, labels=np.arange(60)))


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_with_several_positives_is_torchmetrics_hit_rate(k: int) -> None:
    rng = np.random.default_rng(10 + k)
    scores = rng.random((40, 30))
    positives = rng.random((40, 30)) < 0.1
    positives[np.arange(40), rng.integers(0, 30, 40)] = True
    reference = np.mean(
        [
            retrieval_hit_rate(torch.from_numpy(row), torch.from_numpy(right), top_k=k).item()
            for row, right in zip(scores, positives, strict=True)
        ]
    )
    assert recall_at(ranks_of_best_positive(scores, positives), k) == pytest.approx(float(reference))


def test_ties_count_against_the_query() -> None:
    ranks = ranks_of_best_positive(np.zeros((3, 5)), np.eye(3, 5, dtype=bool))
    assert ranks.tolist() == [4, 4, 4]


def test_ranks_need_a_positive() -> None:
    with pytest.raises(ValueError, match="needs a positive"):
        ranks_of_best_positive(np.zeros((2, 3)), np.zeros((2, 3), dtype=bool))
    with pytest.raises(ValueError, match="differ in shape"):
        ranks_of_best_positive(np.zeros((2, 3)), np.zeros((3, 2), dtype=bool))


@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 15), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_chance_recall_is_the_mean_over_random_orders(
    candidates: int, positive: int, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    positives = np.zeros((1, candidates), dtype=bool)
    positives[0, : min(positive, candidates)] = True
    drawn = [
        recall_at(ranks_of_best_positive(rng.random((1, candidates)), positives), k) for _ in range(1500)
    ]
    assert chance_recall_at(positives, k) == pytest.approx(float(np.mean(drawn)), abs=0.06)


def test_iou_is_torchvisions() -> None:
    rng = np.random.default_rng(3)
    first, second = random_boxes(rng, 50), random_boxes(rng, 50)
    reference = box_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    np.testing.assert_allclose(iou_matrix(first, second), reference, atol=1e-12)
    np.testing.assert_allclose(paired_iou(first, second), np.diag(reference), atol=1e-12)
    assert accuracy_at_iou(first, second) == pytest.approx((np.diag(reference) >= 0.5).mean())


def test_iou_of_empty_and_inverted_boxes_is_zero() -> None:
    empty = np.array([[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.1, 0.1]])
    assert paired_iou(empty, empty).tolist() == [0.0, 0.0]
    assert iou_matrix(empty, np.array([[0.0, 0.0, 1.0, 1.0]])).tolist() == [[0.0], [0.0]]


def test_accuracy_at_iou_counts_the_threshold_itself() -> None:
    assert accuracy_at_iou(np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 1.0, 0.5]])) == 1.0


def test_bootstrap_agrees_with_scipy() -> None:
    gains = np.random.default_rng(5).normal(0.2, 1.0, 300)
    found = paired_bootstrap(gains, resamples=4000, seed=1)
    reference = bootstrap(
        (gains,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.value == pytest.approx(gains.mean())
    assert found.low == pytest.approx(reference.low, abs=0.015)
    assert found.high == pytest.approx(reference.high, abs=0.015)
    assert found == paired_bootstrap(gains, resamples=4000, seed=1)


def test_bootstrap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one unit"):
        paired_bootstrap(np.array([]))


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_interval_is_scipys(n: int, share: float) -> None:
    hits = round(share * n)
    found = wilson_interval(hits / n, n)
    reference = binomtest(hits, n).proportion_ci(method="wilson")
    assert found.low == pytest.approx(reference.low, abs=1e-9)
    assert found.high == pytest.approx(reference.high, abs=1e-9)


def test_majority_accuracy_is_the_dummy_classifiers() -> None:
    labels = np.random.default_rng(0).choice(["a", "b", "c"], 100, p=[0.2, 0.5, 0.3])
    dummy = DummyClassifier(strategy="most_frequent").fit(labels, labels)
    assert majority_accuracy(labels) == pytest.approx(dummy.score(labels, labels))


def test_a_majority_may_be_that_of_other_rows() -> None:
    labels, seen = np.array(["a", "a", "b", "c"]), np.array(["b", "b", "d", "d", "e", "a"])
    assert most_frequent(seen, 2).tolist() == ["b", "d"]
    assert [majority_accuracy(labels, seen, count) for count in (1, 2, 4, 9)] == [0.25, 0.25, 0.75, 0.75]
