"""One and two texts, classes and values."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from xfm.config.evaluation import FineTuneConfig
from xfm.config.training import Precision
from xfm.modeling.folder import Pretrained
from xfm.tasks.base import Blanked, TaskSettings
from xfm.tasks.fine_tune import fine_tune
from xfm.tasks.rows import LabelledText, TextPair
from xfm.tasks.text_classification import TextClassificationTask
from xfm.tasks.text_pair import TextPairTask
from xfm.tasks.text_regression import TextRegressionTask

SETTINGS = TaskSettings(batch_size=8, precision=Precision.FP32)
COLOURS = ("red", "green", "blue", "yellow")
SINGLE = [LabelledText(f"a {a} square left of a {b} square", a) for a in COLOURS for b in COLOURS if a != b]
PAIRS = [
    LabelledText(f"a {a} square", str(a in ("red", "blue")).lower(), f"{b} square")
    for a in COLOURS
    for b in COLOURS
]


@pytest.mark.parametrize("rows", [SINGLE, PAIRS], ids=["one text", "two texts"])
def test_overfits(pretrained: Pretrained, rows: list[LabelledText]) -> None:
    labels = tuple(sorted({str(row.label) for row in rows}))
    task = TextClassificationTask(pretrained, rows, SETTINGS, labels)
    fine_tune(task, FineTuneConfig(steps=250, batch_size=8, lr=3e-3))
    metrics = task.metrics(rows, task.predict(rows))
    assert metrics["accuracy"] == metrics["f1_macro"] == 1.0
    assert ("auroc" in metrics) == (len(labels) == 2)


def test_pairs_are_read_as_the_quickstart_reads_them(pretrained: Pretrained) -> None:
    old = TextPairTask(
        pretrained, [TextPair(r.text, r.second or "", r.label == "true") for r in PAIRS], SETTINGS
    )
    new = TextClassificationTask(pretrained, PAIRS, SETTINGS, ("false", "true"))
    for blanked in (Blanked.NOTHING, Blanked.FIRST_TEXT):
        old.settings = new.settings = replace(SETTINGS, blanked=blanked)
        ours, theirs = new.collate(PAIRS), old.collate(old.train_rows)
        assert torch.equal(ours.tokens.ids, theirs.tokens.ids)
        assert torch.equal(ours.tokens.mask, theirs.tokens.mask)
        assert torch.equal(ours.targets, theirs.labels)


def test_only_pairs_have_a_baseline_of_one_text() -> None:
    assert TextClassificationTask.single(PAIRS) == {Blanked.FIRST_TEXT: "second text only"}
    assert TextClassificationTask.single(SINGLE) == {}


def test_a_missing_second_text_is_refused(pretrained: Pretrained) -> None:
    task = TextClassificationTask(pretrained, PAIRS, SETTINGS, ("false", "true"))
    with pytest.raises(ValueError, match="second text"):
        task.collate([PAIRS[0], SINGLE[0]])


# ---------------------------------------------------------------- values
def values(scale: float, shift: float) -> list[LabelledText]:
    return [replace(row, label=shift + scale * COLOURS.index(str(row.label))) for row in SINGLE]


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, -5.0), (4e4, 1e6)])
def test_values_of_any_scale_are_learned(pretrained: Pretrained, scale: float, shift: float) -> None:
    """The same predictions before and after the scale is worked into the last layer."""
    rows = values(scale, shift)
    task = TextRegressionTask(pretrained, rows, SETTINGS)
    fine_tune(task, FineTuneConfig(steps=150, batch_size=8, lr=3e-3))
    before = task.predict(rows)
    metrics = task.metrics(rows, before)
    assert min(metrics["pearson"], metrics["r2"]) > 0.95
    task.finish()
    np.testing.assert_allclose(task.predict(rows), before, rtol=1e-4, atol=1e-2 * scale)
    batch = task.collate(rows)
    with torch.no_grad():
        plain = task.module.eval()(batch.tokens)[:, 0]
    np.testing.assert_allclose(plain.numpy(), before, rtol=1e-4, atol=1e-2 * scale)


def test_correlations_are_those_of_scipy(pretrained: Pretrained) -> None:
    rows = values(1.0, 0.0)
    task = TextRegressionTask(pretrained, rows, SETTINGS)
    guessed = np.random.default_rng(0).normal(size=len(rows)).tolist()
    truth = [float(row.label) for row in rows]
    found = task.metrics(rows, guessed)
    assert found["pearson"] == pytest.approx(pearsonr(truth, guessed)[0])
    assert found["spearman"] == pytest.approx(spearmanr(truth, guessed)[0])
    constant = task.metrics(rows, task.constants(rows)["mean of the training rows"])
    assert constant == {"pearson": 0.0, "spearman": 0.0, "r2": pytest.approx(0.0)}
    equal = [replace(row, label=2.0) for row in rows]
    assert TextRegressionTask(pretrained, equal, SETTINGS).metrics(equal, guessed)["pearson"] == 0.0
