"""The choice of the penalty, and that the probe scores what scikit-learn's does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.frozen.test_logistic import problem
from xfm.config.linear import RegressionConfig, Sweep
from xfm.errors import UserError
from xfm.frozen import sweep
from xfm.frozen.probe import Split
from xfm.frozen.search import best, binary_search, grid_search
from xfm.frozen.sweep import fit_probe, held_out, joined


@settings(deadline=None)
@given(peak=st.floats(-6, 6), sharpness=st.floats(0.1, 10))
def test_binary_search_finds_the_peak_to_an_eighth_of_a_decade(peak, sharpness):
    trials = binary_search(lambda exponent: -sharpness * abs(exponent - peak), -6, 6)
    assert abs(best(trials).exponent - peak) <= 0.125 / 2 + 1e-9
    assert len(trials) <= 7 + 2 * 4
    assert all(-6 <= trial.exponent <= 6 for trial in trials)


def test_of_equal_scores_the_stronger_penalty_wins():
    trials = grid_search(lambda exponent: 0.5, [3.0, -1.0, 2.0])
    assert [trial.exponent for trial in trials] == [-1.0, 2.0, 3.0]
    assert best(trials).value == pytest.approx(0.1)


@settings(deadline=None)
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


def converged(inverse_penalty):
    """scikit-learn's solver with steps enough; with 1,000 it ends far from the optimum of these features."""
    return LogisticRegression(C=inverse_penalty, tol=1e-6, max_iter=20_000)


@pytest.mark.parametrize("standardise", [False, True])
def test_a_probe_scores_what_scikit_learn_scores(standardise):
    features, labels = problem(4000, 30, 5, seed=5)
    names = np.array(["e", "d", "c", "b", "a"])[labels]
    train, validation, test = (
        Split(features[part], names[part]) for part in (slice(0, 1500), slice(1500, 2000), slice(2000, None))
    )
    config = RegressionConfig(sweep=Sweep.GRID, grid=[1e-3, 1e-1, 10.0], standardise=standardise)
    ours = fit_probe(train, validation, config)
    scaled = StandardScaler().fit(train.features) if standardise else None
    for trial in ours.trials:
        shown = [scaled.transform(x.features) if scaled else x.features for x in (train, validation)]
        reference = converged(trial.value).fit(shown[0], train.labels)
        assert abs(trial.score - reference.score(shown[1], validation.labels)) <= 0.004  # two of 500 rows
    everything = joined(train, validation, None)
    scaled = StandardScaler().fit(everything.features) if standardise else None
    shown = [scaled.transform(x.features) if scaled else x.features for x in (everything, test)]
    reference = converged(ours.chosen).fit(shown[0], everything.labels)
    accuracy = (ours.predict(test.features) == test.labels).mean()
    assert abs(accuracy - reference.score(shown[1], test.labels)) <= 0.002
    assert ours.chosen == pytest.approx(max(ours.trials, key=lambda t: t.score).value)
    assert ours.classes.tolist() == ["a", "b", "c", "d", "e"]


def test_without_validation_rows_a_share_chooses_and_all_are_fitted(tmp_path, monkeypatch):
    features, labels = problem(300, 6, 3, seed=6)
    train = Split(features, labels)
    config = RegressionConfig(sweep=Sweep.GRID, grid=[0.01, 1.0])
    ours = fit_probe(train, None, config, share=0.25, seed=3)
    held = held_out(labels, 0.25, 3)
    whole = fit_probe(Split(features[~held], labels[~held]), Split(features[held], labels[held]), config)
    assert [trial.score for trial in ours.trials] == [trial.score for trial in whole.trials]
    assert (ours.predict(features) == whole.predict(features)).mean() > 0.99
    monkeypatch.setattr(sweep, "IN_MEMORY", 0)  # as with features that do not fit
    mapped = fit_probe(train, None, config, share=0.25, seed=3, scratch=tmp_path)
    assert (mapped.predict(features) == ours.predict(features)).all()
    assert not [*tmp_path.iterdir()]


def test_one_row_a_class_chooses_for_itself():
    names = np.array(["a", "b", "c"])
    probe = fit_probe(Split(np.eye(3, dtype=np.float32), names), None, RegressionConfig())
    assert max(trial.score for trial in probe.trials) == 1.0
    assert (probe.predict(np.eye(3)) == names).all()


def test_one_class_is_no_task():
    with pytest.raises(UserError, match="two classes"):
        fit_probe(Split(np.ones((4, 2)), np.array(["a"] * 4)), None, RegressionConfig())
