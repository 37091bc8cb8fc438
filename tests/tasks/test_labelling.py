"""One class a row, or several labels: targets, losses and weights as torch and scikit-learn have them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from xfm.metrics.classification import ClassPrediction
from xfm.metrics.labels import LabelSet
from xfm.tasks.labelling import OneLabel, SeveralLabels, Truth, class_names
from xfm.training.collectives import balanced, part

NAMES = ("a", "b", "c")
SETS = st.lists(st.lists(st.sampled_from(NAMES), unique=True).map(tuple), min_size=1, max_size=20)


def logits_of(seed: int, rows: int) -> torch.Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=20), st.integers(0, 99), st.integers(1, 5))
def test_a_weighted_loss_is_torchs_however_its_rows_are_parted(labels, seed, parts):
    """The mean of the parts, each with what its rows weigh, is the loss of the whole batch at once."""
    known = OneLabel(NAMES)
    weight = known.weight({"a": 5.0, "c": 0.25}, [])
    assert weight is not None
    logits, targets = logits_of(seed, len(labels)).float(), known.targets([(one,) for one in labels])
    whole = F.cross_entropy(logits, targets, torch.tensor([5.0, 1.0, 0.25]))
    torch.testing.assert_close(known.losses(logits, targets, weight).total, whole)
    own = [part(len(labels), place, min(parts, len(labels))) for place in range(min(parts, len(labels)))]
    factors = balanced([known.weighed(targets[one], weight) for one in own], torch.device("cpu"))
    found = [known.losses(logits[one], targets[one], weight) for one in own]
    means = zip(factors, found, strict=True)
    torch.testing.assert_close(sum(factor * one.total for factor, one in means) / len(own), whole)
    right = (logits.argmax(-1) == targets).float()
    accuracy = (right * weight[targets]).sum() / weight[targets].sum()
    said = zip(factors, found, strict=True)
    torch.testing.assert_close(sum(f * one.metrics["accuracy"] for f, one in said) / len(own), accuracy)


@given(SETS, st.integers(0, 99), st.integers(1, 5))
def test_a_loss_of_several_labels_is_torchs_however_its_rows_are_parted(truths, seed, parts):
    known = SeveralLabels(NAMES)
    weight = known.weight({"b": 3.0}, [])
    assert weight is not None
    logits, targets = logits_of(seed, len(truths)).float(), known.targets(truths)
    whole = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=torch.tensor([1.0, 3.0, 1.0]))
    torch.testing.assert_close(known.losses(logits, targets, weight).total, whole)
    own = [part(len(truths), place, min(parts, len(truths))) for place in range(min(parts, len(truths)))]
    factors = balanced([known.weighed(targets[one], weight) for one in own], torch.device("cpu"))
    found = [known.losses(logits[one], targets[one], weight).total for one in own]
    torch.testing.assert_close(sum(f * one for f, one in zip(factors, found, strict=True)) / len(own), whole)


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=30))
def test_balanced_weights_are_scikit_learns(labels: list[str]) -> None:
    present = tuple(sorted(set(labels)))
    weight = OneLabel(present).weight("balanced", [(one,) for one in labels])
    right = compute_class_weight("balanced", classes=np.array(present), y=np.array(labels))
    np.testing.assert_allclose(weight, right, rtol=1e-6)
    assert OneLabel(NAMES).weight("", []) is None


@given(SETS)
def test_balanced_labels_weigh_what_the_rows_without_them_do(truths: list[Truth]) -> None:
    weight = SeveralLabels(NAMES).weight("balanced", truths)
    for name, own in zip(NAMES, weight.tolist(), strict=True):
        count = sum(name in truth for truth in truths)
        assert own * count == pytest.approx(len(truths) - count if 0 < count < len(truths) else count)


def test_smoothed_and_mixed_targets_have_torchs_weights() -> None:
    known, weight, logits = OneLabel(NAMES), torch.tensor([2.0, 1.0, 4.0]), logits_of(0, 4).float()
    places, shares = torch.tensor([0, 1, 2, 2]), torch.rand(4, 3).softmax(-1)
    smooth = F.cross_entropy(logits, places, weight, label_smoothing=0.2)
    torch.testing.assert_close(known.losses(logits, places, weight, 0.2).total, smooth)
    mixed = F.cross_entropy(logits, shares, weight, label_smoothing=0.2)
    torch.testing.assert_close(known.losses(logits, shares, weight, 0.2).total, mixed)
    assert known.weighed(shares, weight) == 4


@given(SETS, st.integers(0, 99))
def test_labels_from_the_threshold_on_are_given(truths: list[Truth], seed: int) -> None:
    known, logits = SeveralLabels(NAMES), logits_of(seed, len(truths))
    said = known.predictions(logits)
    for own, row in zip(said, logits.float().sigmoid().tolist(), strict=True):
        assert own.probabilities == pytest.approx(row)
        assert own.labels == tuple(name for name, one in zip(NAMES, row, strict=True) if one >= 0.5)
    settled = known.settled(truths, said)
    again = settled.anew(said)
    assert settled.metrics(truths, again)["f1_micro"] >= known.metrics(truths, said)["f1_micro"]
    assert again == settled.predictions(logits)
    given = SeveralLabels(NAMES, threshold=0.9, fits=False)
    assert given.settled(truths, said) is given
    for truth in truths:
        assert set(known.certain(truth).labels) == set(truth)
        assert known.case(truth, known.certain(truth)).right
    perfect = known.metrics(truths, [known.certain(truth) for truth in truths])
    assert perfect["exact_match"] == 1
    assert perfect["f1_micro"] == float(any(truths))


def test_a_label_that_the_model_does_not_know_is_missed() -> None:
    known = SeveralLabels(("a", "b"))
    said = [LabelSet(("a",), (0.9, 0.1))]
    assert known.metrics([("a",)], said)["f1_micro"] == 1
    missed = known.metrics([("a", "new")], said)
    assert missed["f1_micro"] == pytest.approx(2 / 3)
    assert missed["exact_match"] == 0
    assert known.table([("a", "new")], said)[0] == ("a", "b", "new")
    assert known.case(("a", "new"), said[0]).badness > known.case(("a",), said[0]).badness


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
