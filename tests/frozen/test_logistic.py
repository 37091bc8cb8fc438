"""The regression has scikit-learn's optimum, whatever the features look like."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from xfm.frozen.logistic import Classifier, Regression


def problem(rows: int, width: int, classes: int, seed: int):
    """Correlated features with a mean and directions of very different spread."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=rows - classes)])
    centres = rng.normal(size=(classes, width))
    spread = 10 ** rng.uniform(-1.5, 0.5, size=width)
    mixing = rng.normal(size=(width, width)) / width**0.5
    values = ((centres[labels] + 2 * rng.normal(size=(rows, width))) * spread) @ mixing
    return (values + 3 * rng.normal(size=width)).astype(np.float32), labels


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(40, 300),
    width=st.integers(1, 24),
    classes=st.integers(2, 6),
    exponent=st.floats(-4, 2),
    seed=st.integers(0, 2**16),
)
def test_the_optimum_is_scikit_learns(rows, width, classes, exponent, seed):
    features, labels = problem(rows, width, classes, seed)
    value = 10**exponent
    reference = LogisticRegression(C=value, tol=1e-9, max_iter=10_000).fit(
        features.astype(np.float64), labels
    )
    found = Regression(features, labels, classes).fit(value, tolerance=1e-6, max_iterations=3000)
    theirs = reference.predict_proba(features.astype(np.float64))
    ours = found.classifier.logits(features).double().softmax(1).numpy()
    np.testing.assert_allclose(ours, theirs, atol=3e-3)


def test_starting_elsewhere_changes_nothing():
    features, labels = problem(200, 12, 4, seed=1)
    regression = Regression(features, labels, 4)
    start = Classifier(torch.randn(12, 4), torch.randn(4))
    cold, warm = (regression.fit(0.1, begin, tolerance=1e-5) for begin in (None, start))
    assert cold.converged
    assert warm.converged
    ours, theirs = (fit.classifier.logits(features).softmax(1) for fit in (cold, warm))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)
    again = regression.fit(0.1, warm.classifier, tolerance=1e-4)
    assert again.iterations == 0


def test_a_memory_map_of_half_precision_is_read_in_blocks(tmp_path):
    features, labels = problem(9000, 8, 3, seed=2)
    np.save(tmp_path / "features.npy", features.astype(np.float16))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    ours = Regression(mapped, labels, 3).fit(1.0, tolerance=1e-5).classifier
    whole = (
        Regression(features.astype(np.float16).astype(np.float32), labels, 3)
        .fit(1.0, tolerance=1e-5)
        .classifier
    )
    torch.testing.assert_close(
        ours.logits(mapped), whole.logits(features.astype(np.float16)), atol=1e-2, rtol=0
    )
    assert (ours.predict(mapped) == ours.logits(mapped).argmax(1)).all()


def test_deviations_standardise():
    features, labels = problem(300, 10, 3, seed=3)
    deviations = features.std(axis=0)
    reference = Regression(features / deviations, labels, 3).fit(0.05, tolerance=1e-6).classifier
    ours = Regression(features, labels, 3, deviations).fit(0.05, tolerance=1e-6).classifier
    torch.testing.assert_close(
        ours.logits(features), reference.logits(features / deviations), atol=1e-2, rtol=0
    )
    resumed = Regression(features, labels, 3, deviations).fit(0.05, ours, tolerance=1e-4)
    assert resumed.iterations == 0


def test_constant_and_repeated_features_do_no_harm():
    features, labels = problem(100, 5, 3, seed=4)
    doubled = np.concatenate([features, features, np.ones((100, 1), np.float32)], axis=1)
    ours = Regression(doubled, labels, 3).fit(0.5, tolerance=1e-6)
    reference = LogisticRegression(C=0.5, tol=1e-9, max_iter=10_000).fit(doubled, labels)
    theirs = reference.predict_proba(doubled)
    np.testing.assert_allclose(ours.classifier.logits(doubled).softmax(1).numpy(), theirs, atol=3e-3)


def test_the_limit_of_steps_is_kept_and_told():
    features, labels = problem(200, 12, 4, seed=1)
    found = Regression(features, labels, 4).fit(10.0, tolerance=0.0, max_iterations=3)
    assert found.iterations == 3
    assert not found.converged


@pytest.mark.parametrize(
    ("shape", "labels", "classes"),
    [((3, 2), [0, 1], 2), ((2, 2), [0, 2], 2), ((2, 2), [0, 0], 1), ((0, 2), [], 2), ((2,), [0, 1], 2)],
)
def test_what_does_not_belong_together_is_refused(shape, labels, classes):
    with pytest.raises(ValueError, match="labels"):
        Regression(np.zeros(shape, np.float32), np.array(labels, dtype=np.int64), classes)
