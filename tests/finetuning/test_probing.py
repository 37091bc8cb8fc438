"""The probe is the optimum of scikit-learn; a classifier is as sure as it is right, wherever one asks."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

import xfm
from tests.alike import some, thorough
from tests.evaluation.tiny import tiny_pretrained, tiny_task
from tests.finetuning.conftest import on_sample, on_table, text_table
from tests.reports.written import details_of, page_of
from tests.tasks.build import SINGLE, build
from xfm.config.finetune import FinetuneConfig, Preset
from xfm.config.task import HeadKind
from xfm.config.tasks import task_spec
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.finetuning.baselines.strong import PROBE
from xfm.finetuning.probing import encoded, fit_linear, fit_task, has_probe
from xfm.metrics.calibration import CALIBRATION
from xfm.models.heads import ProbeHead
from xfm.tasks.rows import LabelledText
from xfm.tasks.text_classification import TextClassificationTask, TextRegressionTask

FAST = FinetuneConfig(preset=Preset.FAST, device="cpu", precision=Precision.FP32)
PROBED = ("text-classification", "image-classification", "image-text-classification", "reasoning")


@given(st.integers(0, 100), st.integers(2, 4), st.floats(-3, 0))
@settings(max_examples=15)
def test_classes_have_scikit_learns_logistic_regression(seed: int, classes: int, exponent: float) -> None:
    rng, penalty = np.random.default_rng(seed), 10.0**exponent
    features = (rng.normal(size=(80, 6)) * rng.uniform(0.01, 50, 6) + rng.normal(size=6) * 100).astype("f4")
    names = [f"c{place % classes}" for place in rng.permutation(80)]
    rows = [LabelledText(f"{place}", name) for place, name in enumerate(names)]
    task = tiny_task(TextClassificationTask, rows, tuple(f"c{place}" for place in range(classes)))
    fit = fit_linear(task, (rows, features), ((), features[:0]), penalties=(penalty,))
    scaled = StandardScaler().fit_transform(features.astype("f8"))
    right = LogisticRegression(C=penalty, tol=1e-8, max_iter=5000).fit(scaled, names).predict_proba(scaled)
    found = [one.probabilities for one in fit.predictions(task, features)]
    np.testing.assert_allclose(found, right, atol=5e-3)


@given(st.integers(0, 100), st.floats(-3, 1))
@settings(max_examples=15)
def test_values_have_scikit_learns_ridge(seed: int, exponent: float) -> None:
    rng, penalty = np.random.default_rng(seed), 10.0**exponent
    features = (rng.normal(size=(60, 5)) * 7 + 30).astype("f4")
    values = features @ rng.normal(size=5) + rng.normal(size=60)
    rows = [LabelledText(f"{place}", float(value)) for place, value in enumerate(values)]
    task = tiny_task(TextRegressionTask, rows)
    fit = fit_linear(task, (rows, features), ((), features[:0]), penalties=(penalty,))
    scaled = StandardScaler().fit_transform(features.astype("f8"))
    right = Ridge(alpha=1 / penalty).fit(scaled, values).predict(scaled)
    np.testing.assert_allclose(fit.predictions(task, features), right, rtol=1e-3, atol=1e-2)


def test_the_penalty_is_the_best_of_the_validation_rows_by_the_metric_that_chooses() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(120, 30)).astype("f4")
    names = ["a" if one + 2 * rng.normal() > 0 else "b" for one in features[:, 0]]
    rows = [LabelledText(f"{place}", name) for place, name in enumerate(names)]
    task = tiny_task(TextClassificationTask, rows, ("a", "b"))
    train, valid = (rows[:60], features[:60]), (rows[60:], features[60:])
    for metric in ("accuracy", "mcc"):
        chosen = fit_linear(task, train, valid, metric)
        scores = []
        for exponent in range(-5, 2):
            one = fit_linear(task, train, valid, penalties=(10.0**exponent,))
            scores.append(task.metrics(valid[0], one.predictions(task, valid[1]))[metric])
        mine = task.metrics(valid[0], chosen.predictions(task, valid[1]))[metric]
        assert mine == pytest.approx(max(scores))
    assert "chosen on the validation rows" in chosen.note
    with pytest.raises(UserError, match="choose_by: text-classification has no acc; choose by accuracy"):
        fit_linear(task, train, valid, "acc")


def test_rows_are_encoded_in_their_order_whatever_the_batches() -> None:
    rows = [LabelledText(" ".join(["red square"] * (1 + place % 7)), "a") for place in range(150)]
    task = build(TextClassificationTask, tiny_pretrained(), rows, ("a", "b"), head=HeadKind.PROBE)
    task.module.eval()
    found = encoded(task, rows)
    assert list(found[0]) == rows
    for place in (0, 3, 80, 149):
        alone = encoded(task, [rows[place]])[1]
        np.testing.assert_allclose(found[1][place : place + 1], alone, atol=1e-5)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_the_head_of_the_model_says_what_was_fitted(precision: Precision) -> None:
    """Features far from 0, whose means the bias cancels: the layer computes in float32."""
    task = build(
        TextClassificationTask, tiny_pretrained(), SINGLE, ("blue", "green", "red", "yellow"),
        head=HeadKind.PROBE, precision=precision,
    )  # fmt: skip
    assert isinstance(task.module.head, ProbeHead)
    fit = fit_task(task, SINGLE)
    features = encoded(task, SINGLE)
    mine = torch.tensor([one.probabilities for one in fit.predictions(task, features[1])])
    said = torch.tensor([one.probabilities for one in task.predict(SINGLE)])
    assert (mine - said).abs().max() < (1e-4 if precision is Precision.FP32 else 0.02)
    with torch.autocast("cpu", torch.bfloat16):
        assert task.module.head(torch.ones(1, task.module.head.in_features)).dtype is torch.float32


@pytest.mark.parametrize("kind", some(PROBED, 2))
def test_fast_makes_a_model_folder_that_answers_as_it_was_scored(kind, model, tmp_path):
    assert has_probe(task_spec(kind))
    done = on_sample(kind, model, tmp_path / "out", FAST)
    board = done.leaderboards["test"]
    assert PROBE not in {place.name for place in board.places}
    assert done.tuned.step == 0
    details = details_of(tmp_path / "out")
    assert details["probe"]["C"] == done.tuned.probe.penalty
    assert [*details["decisions"]] == ["encoders", "head"]
    before, after = xfm.load_model(model), xfm.load_model(tmp_path / "out")
    assert after.task is not None
    frozen = before.model.state_dict()
    assert all(torch.equal(frozen[name], tensor) for name, tensor in after.model.state_dict().items())
    pipe = xfm.pipeline(kind, model=tmp_path / "out")
    for row, prediction in zip(done.task.train_rows, done.task.predict(done.task.train_rows), strict=True):
        (best, *_) = pipe(**inputs_of(done.task, row))
        assert best["label"] == prediction.label
        assert best["score"] == pytest.approx(max(prediction.probabilities), abs=1e-4)


def inputs_of(task: Any, row: Any) -> dict[str, Any]:
    """A row as the pipeline of its task takes it."""
    pictures, texts = [*task.images_of(row)], task.texts_of(row)
    shown = {1: {"image": pictures[0]}, 2: {"images": pictures}}[len(pictures)] if pictures else {}
    return {**shown, **({"text": texts[0]} if texts else {})}


@thorough
def test_fast_learns_values(model: Path, tmp_path: Path) -> None:
    table = text_table(tmp_path, [f"{'red ' * (1 + n % 5)}square,{n % 5}" for n in range(60)])
    config = FinetuneConfig(preset=Preset.FAST, regression=True, device="cpu", precision=Precision.FP32)
    done = xfm.finetune(
        "text-classification", model, table, tmp_path / "out", config=config, progress=False, valid=table
    )
    assert done.scores["text-classification/validation/pearson"].value > 0.95
    again = xfm.score(tmp_path / "out", table, device="cpu", precision="fp32", progress=False)
    before = done.scores["text-classification/validation/pearson"].value
    assert again.scores["text-classification/test/pearson"].value == pytest.approx(before, abs=1e-4)
    pipe = xfm.pipeline("text-classification", model=tmp_path / "out")
    assert pipe("red red red square")[0]["score"] == pytest.approx(2.0, abs=0.5)


KINDS = ("red", "green", "blue")
SURE = FinetuneConfig(
    steps=90,
    batch_size=16,
    lr=6e-3,
    patience=0,
    evaluate_every=90,
    baseline=False,
    precision=Precision.FP32,
    device="cpu",
)
"""Trained on labels of which many are wrong, until the model knows them by heart."""


def noisy(count: int, seed: int, several: bool = False) -> list[dict[str, Any]]:
    """Texts whose colour is their label in two of three rows; in the others it is any."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        colour = KINDS[number % 3]
        label = colour if rng.random() < 2 / 3 else str(rng.choice(KINDS))
        text = f"a {colour} square {rng.integers(10**6)}"
        rows.append({"text": text, "label": [label, "any"] if several else label})
    return rows


@pytest.fixture(scope="module")
def sure(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], tuple[Any, Any, Path]]:
    """Trains a model that is surer than it is right; gives its rows and its folder, too."""

    @cache
    def tuned(several: bool) -> tuple[Any, Any, Path]:
        config = replace(SURE, multi_label=several)
        tables = {"valid": noisy(60, 1, several), "test": noisy(120, 2, several)}
        out = tmp_path_factory.mktemp("sure") / "out"
        return on_table(model, noisy(90, 0, several), out, config, **tables), tables, out

    return tuned


@thorough
@pytest.mark.parametrize("several", some([False, True], 2))
def test_it_is_fitted_and_told_and_changes_no_answer(sure, several, tmp_path):
    done, tables, out = sure(several)
    folder = out / "model"
    told = json.loads((folder / "task.json").read_text())
    assert told["temperature"] > 1.2
    start = f"text-classification/test/{CALIBRATION}"
    after, before = done.scores[start].value, done.scores[f"{start}_before"].value
    assert after < before + (0.01 if several else 0)  # of several labels it is small in any case
    assert "by 60 validation rows" in details_of(out)["temperature"]
    if not several:
        assert "Before the temperature it was" in page_of(out)
    task: Any = done.task
    warm = task.warmed(done.predictions["test"])
    for one, other in zip(warm, done.predictions["test"], strict=True):
        assert np.argsort(one.probabilities).tolist() == np.argsort(other.probabilities).tolist()
    texts = [row["text"] for row in tables["test"]]
    answers = xfm.pipeline("text-classification", folder, precision="fp32")(texts, top_k=0)
    for own, said in zip(done.predictions["test"], answers, strict=True):
        by_name = {one["label"]: one["score"] for one in said}
        assert [by_name[name] for name in task.labels.names] == pytest.approx(own.probabilities, abs=1e-4)
    again = xfm.score(folder, tables["test"], tmp_path / "again", progress=False, precision="fp32").scores
    assert [again[f"{start}{end}"].value for end in ("", "_before")] == pytest.approx(
        [after, before], abs=1e-3
    )


@thorough
def test_without_enough_rows_it_is_said(model, tmp_path):
    config, tables = replace(SURE, steps=20, evaluate_every=20), {"valid": noisy(10, 1), "test": noisy(30, 2)}
    done = on_table(model, noisy(300, 0), tmp_path / "out", config, **tables)
    assert details_of(tmp_path / "out")["temperature"] == "not fitted: fewer than 20 validation rows"
    assert done.task.module.task.temperature == 1
