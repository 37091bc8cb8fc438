"""The linear probe and the nearest neighbours are scikit-learn's; a penalty is chosen as CLIP does."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from tests.alike import some
from xfm.config.probing import RegressionConfig
from xfm.evaluation.probing.linear_probe import best, binary_search, fit_each, fit_probe, held_out
from xfm.finetuning import logistic
from xfm.finetuning.frozen_features import (
    LabelledFeatures,
    concatenated,
    nearest_neighbours,
)
from xfm.finetuning.logistic import Regression

EXACT = {"tolerance": 1e-6, "max_iterations": 3000}


def problem(rows: int, width: int, classes: int, seed: int):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=rows - classes)])
    centres = rng.normal(size=(classes, width))
    spread = 10 ** rng.uniform(-1.5, 0.5, size=width)
    mixing = rng.normal(size=(width, width)) / width**0.5
    values = ((centres[labels] + 2 * rng.normal(size=(rows, width))) * spread) @ mixing
    return (values + 3 * rng.normal(size=width)).astype(np.float32), labels


def converged(value: float, features, labels, tol: float = 1e-9, weights=None) -> LogisticRegression:
    """scikit-learn's solver with steps enough; with 1,000 it ends far from the optimum of these features."""
    given = None if weights is None else dict(enumerate(weights))
    return LogisticRegression(C=value, tol=tol, max_iter=20_000, class_weight=given).fit(features, labels)


@settings(max_examples=15)
@given(
    rows=st.integers(40, 300),
    width=st.integers(1, 24),
    classes=st.integers(2, 6),
    exponent=st.floats(-4, 2),
    seed=st.integers(0, 2**16),
    weighted=st.booleans(),
)
@example(rows=30, width=90, classes=3, exponent=-1.0, seed=0, weighted=False)  # fewer rows than features
@example(rows=25, width=26, classes=2, exponent=1.0, seed=1, weighted=True)
def test_the_optimum_is_scikit_learns(rows, width, classes, exponent, seed, weighted):
    features, labels = problem(rows, width, classes, seed)
    weights = np.random.default_rng(seed).uniform(0.2, 5, classes) if weighted else None
    found = Regression(features, labels, classes, weights=weights).fit(10**exponent, **EXACT)
    exact = features.astype(np.float64)
    theirs = converged(10**exponent, exact, labels, weights=weights).predict_proba(exact)
    np.testing.assert_allclose(found.logits(features).double().softmax(1).numpy(), theirs, atol=3e-3)


@settings(max_examples=5)
@given(exponent=st.floats(-3, 1), seed=st.integers(0, 2**16))
def test_several_labels_have_the_optimum_of_each(exponent, seed):
    features, labels = problem(150, 8, 3, seed)
    flags = np.stack([labels == 0, labels != 1, np.arange(150) % 2 == 0], axis=1).astype(np.float32)
    weights = np.array([1.0, 3.0, 0.5])
    found = Regression(features, flags, 3, weights=weights).fit(10**exponent, **EXACT)
    ours, exact = found.logits(features).double().sigmoid().numpy(), features.astype(np.float64)
    for place, weight in enumerate(weights.tolist()):
        model = converged(10**exponent, exact, flags[:, place], weights=[1, weight])
        theirs = model.predict_proba(exact)[:, 1]
        np.testing.assert_allclose(ours[:, place], theirs, atol=3e-3)


@pytest.mark.parametrize("several", [False, True])
def test_many_rows_in_blocks_have_the_optimum_of_few_that_are_held(several, monkeypatch):
    """Of one loss: turned to the axes once, or pass by pass; with weights and deviations."""
    features, labels = problem(90, 7, 3, seed=5)
    targets = np.eye(3, dtype=np.float32)[labels] if several else labels
    more = {"deviations": features.std(0), "weights": np.array([1.0, 2.0, 0.5])}
    held = Regression(features, targets, 3, **more).fit(0.3, tolerance=1e-6)
    monkeypatch.setattr(logistic, "ROWS", 16)
    by_block = Regression(features, targets, 3, **more).fit(0.3, tolerance=1e-6)
    torch.testing.assert_close(by_block.logits(features), held.logits(features), atol=2e-3, rtol=0)


def test_deviations_standardise():
    features, labels = problem(300, 10, 3, seed=3)
    deviations = features.std(axis=0)
    divided, regression = features / deviations, Regression(features, labels, 3, deviations)
    ours = regression.fit(0.05, tolerance=1e-6)
    expected = Regression(divided, labels, 3).fit(0.05, tolerance=1e-6).logits(divided)
    torch.testing.assert_close(ours.logits(features), expected, atol=1e-2, rtol=0)
    assert regression.fit(0.05, ours, tolerance=1e-4).iterations == 0


@given(peak=st.floats(-6, 6), sharpness=st.floats(0.1, 10))
def test_binary_search_finds_the_peak_to_an_eighth_of_a_decade(peak, sharpness):
    trials = binary_search(lambda exponent: -sharpness * abs(exponent - peak), -6, 6)
    assert abs(best(trials) - peak) <= 0.125 / 2 + 1e-9
    assert len(trials) <= 7 + 2 * 4
    assert all(-6 <= exponent <= 6 for exponent in trials)


@given(
    labels=st.lists(st.sampled_from("abcd"), min_size=2, max_size=60),
    share=st.floats(0.05, 0.8),
    seed=st.integers(0, 99),
)
def test_every_class_is_held_out_alike_and_never_whole(labels, share, seed):
    names = np.array(labels)
    held = held_out(names, share, seed)
    for name in set(labels):
        rows, taken = int((names == name).sum()), int(held[names == name].sum())
        assert taken < rows
        assert taken == min(max(1, round(share * rows)), rows - 1)


def test_a_probe_of_one_penalty_is_scikit_learns():
    """And that of the suite: a strong penalty on standardised features, few steps."""
    features, labels = problem(400, 20, 4, seed=7)
    names, scaler = np.array(["ant", "bee", "cat", "dog"])[labels], StandardScaler().fit(features[:250])
    reference = LogisticRegression(C=0.01, max_iter=300).fit(scaler.transform(features[:250]), names[:250])
    rows = LabelledFeatures(features[:250], names[:250])
    (probe,) = fit_each(rows, [0.01], RegressionConfig(standardise=True))
    assert (probe.predict(features[250:]) == reference.predict(scaler.transform(features[250:]))).all()


@pytest.mark.parametrize("standardise", some([False, True], 2))
def test_a_probe_scores_what_scikit_learn_scores(standardise):
    features, labels = problem(4000, 30, 5, seed=5)
    names = np.array(["e", "d", "c", "b", "a"])[labels]
    train, validation, test = (
        LabelledFeatures(features[part], names[part])
        for part in (slice(0, 1500), slice(1500, 2000), slice(2000, None))
    )
    config = RegressionConfig(lowest=-3, highest=-1, standardise=standardise)
    ours = fit_probe(train, validation, config)

    def theirs(value: float, fitted: LabelledFeatures, scored: LabelledFeatures) -> float:
        scaler = StandardScaler(with_mean=standardise, with_std=standardise).fit(fitted.features)
        reference = converged(value, scaler.transform(fitted.features), fitted.labels, 1e-6)
        return reference.score(scaler.transform(scored.features), scored.labels)

    for exponent, score in ours.trials.items():
        assert abs(score - theirs(10.0**exponent, train, validation)) <= 0.004  # two of 500 rows
    accuracy = (ours.predict(test.features) == test.labels).mean()
    assert abs(accuracy - theirs(ours.chosen, concatenated(train, validation), test)) <= 0.002
    assert ours.chosen == 10.0 ** best(ours.trials)
    assert ours.classes.tolist() == ["a", "b", "c", "d", "e"]


# ---------------------------------------------------------------- neighbours
@pytest.mark.parametrize("k", [1, 7, 200])
def test_neighbours_are_scikit_learns(k: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    features = (1.5 * rng.normal(size=(4, 10))[labels] + rng.normal(size=(300, 10))).astype(np.float32)
    names = np.array(["ant", "bee", "cat", "dog"])[labels]
    train, test = LabelledFeatures(features[:200], names[:200]), LabelledFeatures(features[200:], names[200:])
    reference = KNeighborsClassifier(k, metric="cosine").fit(train.features, train.labels)
    # scikit-learn breaks ties of votes by the label's order, we by the larger sum of cosines.
    votes = reference.predict_proba(test.features)
    clear = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    ours = nearest_neighbours(train, test, k)
    assert clear.mean() > 0.8
    assert (ours[clear] == reference.predict(test.features)[clear]).all()
