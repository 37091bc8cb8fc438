"""Ranks and recalls against scikit-learn, torchmetrics and a direct count."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.metrics import top_k_accuracy_score
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_reciprocal_rank

from xfm.metrics.recalls import (
    Rule,
    chance_recalls,
    first_places,
    own_captions,
    prefers_first,
    rank_chances,
    rank_scores,
    ranks_of_best_positive,
    recalls,
    rerank_gain,
    with_equal_captions,
)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_is_top_k_accuracy_or_the_hit_rate(k: int) -> None:
    """With one positive scikit-learn's, with several torchmetrics'."""
    rng = np.random.default_rng(k)
    scores, one = rng.normal(size=(60, 60)), np.eye(60, dtype=bool)
    expected = top_k_accuracy_score(np.arange(60), scores, k=k, labels=np.arange(60))
    assert (ranks_of_best_positive(scores, one) < k).mean() == pytest.approx(expected)
    several = one | (rng.random((60, 60)) < 0.1)
    rows = zip(torch.from_numpy(scores), torch.from_numpy(several), strict=True)
    rates = [retrieval_hit_rate(row, right, top_k=k).item() for row, right in rows]
    assert (ranks_of_best_positive(scores, several) < k).mean() == pytest.approx(np.mean(rates))


def test_reciprocal_ranks_are_those_of_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    scores, right = rng.normal(size=(80, 40)), rng.random((80, 40)) < 0.05
    right[np.arange(80), rng.integers(40, size=80)] = True
    found = rank_scores(ranks_of_best_positive(scores, right))
    rows = zip(torch.from_numpy(scores), torch.from_numpy(right), strict=True)
    expected = [retrieval_reciprocal_rank(*row, top_k=10).item() for row in rows]
    assert found["mrr10"].tolist() == pytest.approx(expected)
    assert 0 in expected


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 12)), min_size=1, max_size=5))
@settings(max_examples=20)
def test_chance_of_ranks_is_the_mean_over_random_orders(queries: list[tuple[int, int]]) -> None:
    """Of queries that have candidates of their own number."""
    rng, drawn = np.random.default_rng(0), []
    for positives, negatives in queries:
        right = np.tile(np.arange(positives + negatives) < positives, (3000, 1))
        ranks = ranks_of_best_positive(rng.random(right.shape), right)
        drawn.append({name: own.mean() for name, own in rank_scores(ranks).items()})
    counts, wrong = np.array(queries).T
    expected = {name: np.mean([one[name] for one in drawn]) for name in drawn[0]}
    assert rank_chances(counts, counts + wrong) == pytest.approx(expected, abs=0.04)


def test_ties_count_against_the_query() -> None:
    assert ranks_of_best_positive(np.zeros((3, 5)), np.eye(3, 5, dtype=bool)).tolist() == [4, 4, 4]
    hard = [np.array([0.9, 0.1]), np.array([0.2, 0.3, 0.1]), np.array([0.5, 0.5])]
    assert prefers_first(hard).tolist() == [True, False, False]


@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 15), st.integers(0, 99))
@settings(max_examples=25)
def test_chance_recall_is_the_mean_over_random_orders(
    candidates: int, positive: int, k: int, seed: int
) -> None:
    rng, count = np.random.default_rng(seed), min(positive, candidates)
    positives = np.tile(np.arange(candidates) < count, (1500, 1))
    drawn = (ranks_of_best_positive(rng.random(positives.shape), positives) < k).mean()
    assert first_places(np.array([count]), candidates, k).sum() == pytest.approx(drawn, abs=0.06)


def ranks_by_rule(
    matrices: dict[Rule, NDArray[np.float64]], positives: NDArray[np.bool_]
) -> dict[Rule, NDArray[np.int64]]:
    return {rule: ranks_of_best_positive(matrix, positives) for rule, matrix in matrices.items()}


@pytest.mark.parametrize("captions", [1, 3])
def test_recalls_of_both_directions_and_the_pooled_gain(captions: int) -> None:
    rng, positives = np.random.default_rng(captions), np.repeat(np.eye(12, dtype=bool), captions, axis=1)
    matrices = dict(zip(Rule, rng.random((3, *positives.shape)), strict=True))
    text = ranks_by_rule(matrices, positives)
    image = ranks_by_rule({rule: matrix.T for rule, matrix in matrices.items()}, positives.T)
    found, pairs = recalls(text, image), csr_array(positives)
    for rule, matrix in matrices.items():
        for name, scores, right in (("text", matrix, positives), ("image", matrix.T, positives.T)):
            order = np.take_along_axis(right, np.argsort(-scores, axis=1), axis=1)
            for k in (1, 5, 10):
                assert found[f"{name}_r{k}{rule}"] == order[:, :k].any(axis=1).mean()
    better, usual = (
        np.concatenate([text[rule] == 0, image[rule] == 0]).mean() for rule in (Rule.RERANK, Rule.CONTRAST)
    )
    gain, chances = rerank_gain(text, image, pairs, seed=0), chance_recalls(pairs)
    assert gain.value == pytest.approx(better - usual)
    assert gain.low <= gain.value <= gain.high
    assert [chances[f"image_r{k}"] for k in (1, 5, 10)] == pytest.approx([1 / 12, 5 / 12, 10 / 12])


def test_captions_and_their_owners() -> None:
    own = own_captions([0, 1, 1], 2)
    assert own.toarray().tolist() == [[True, False, False], [False, True, True]]
    shared = with_equal_captions([0, 1, 1], ["a", "a", "b"], 2)
    assert shared.toarray().tolist() == [[True, True, False], [True, True, True]]
