import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from xfm.metrics.classification import mean_class_accuracy, top_k_accuracy


@settings(deadline=None, max_examples=200)
@given(rows=st.integers(1, 30), classes=st.integers(2, 8), k=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_equal_scikit_learns(rows, classes, k, seed):
    rng = np.random.default_rng(seed)
    scores, targets = rng.normal(size=(rows, classes)), rng.integers(0, classes, rows)
    reference = 1.0
    if k < classes:  # scikit-learn warns otherwise; with two classes it wants one column
        order = np.argsort(-scores, axis=1)[:, :k]
        reference = float(np.mean([target in row for target, row in zip(targets, order, strict=True)]))
        if classes > 2:
            names = np.arange(classes)
            assert np.isclose(reference, top_k_accuracy_score(targets, scores, k=k, labels=names))
    assert np.isclose(top_k_accuracy(scores, targets, k), reference)
    predicted = scores.argmax(1)
    known = np.isin(predicted, targets)  # scikit-learn warns about classes that no target has
    if known.all():
        assert np.isclose(
            mean_class_accuracy(predicted, targets), balanced_accuracy_score(targets, predicted)
        )


def test_ties_and_unknown_classes_count_against_the_row():
    assert top_k_accuracy(np.zeros((3, 4)), np.array([0, 1, 2]), 1) == 0.0
    assert top_k_accuracy(np.eye(3), np.array([0, 1, -1]), 1) == 2 / 3
