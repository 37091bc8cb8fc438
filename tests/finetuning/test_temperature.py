"""A fine-tuned classifier is as sure as it is right, wherever its probabilities are given."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfm
from tests.finetuning.conftest import Cli, on_table
from tests.reports.written import details_of, page_of
from xfm.config.finetune import FinetuneConfig
from xfm.config.training import Precision
from xfm.metrics.calibration import CALIBRATION
from xfm.reports.scores import read_scores

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


@pytest.mark.parametrize("several", [False, True])
def test_it_is_fitted_and_told_and_changes_no_answer(model: Path, tmp_path: Path, several: bool) -> None:
    config = FinetuneConfig(**{**vars_of(SURE), "multi_label": several})
    tables = {"valid": noisy(60, 1, several), "test": noisy(120, 2, several)}
    done = on_table(model, noisy(90, 0, several), tmp_path / "out", config, **tables)
    folder = tmp_path / "out" / "model"
    told = json.loads((folder / "task.json").read_text())
    assert told["temperature"] > 1.2
    start = f"text-classification/test/{CALIBRATION}"
    after, before = done.scores[start].value, done.scores[f"{start}_before"].value
    assert after < before + (0.01 if several else 0)  # of several labels it is small in any case
    assert "fitted on 60 validation rows" in details_of(tmp_path / "out")["temperature"]
    if not several:
        assert "Before the temperature it was" in page_of(tmp_path / "out")
    task: Any = done.task
    warm = task.warmed(done.predictions["test"])
    for one, other in zip(warm, done.predictions["test"], strict=True):
        assert np.argsort(one.probabilities).tolist() == np.argsort(other.probabilities).tolist()
    texts = [row["text"] for row in tables["test"]]
    answers = xfm.pipeline("text-classification", folder, precision="fp32")(texts, top_k=0)
    for own, said in zip(done.predictions["test"], answers, strict=True):
        by_name = {one["label"]: one["score"] for one in said}
        assert [by_name[name] for name in task.labels.names] == pytest.approx(own.probabilities, abs=1e-4)


def test_transformers_and_an_evaluation_give_the_same(model: Path, tmp_path: Path, cli: Cli) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("xfm.models.interop.transformers")
    tables = {"valid": noisy(60, 1), "test": noisy(60, 2)}
    done = on_table(model, noisy(90, 0), tmp_path / "out", SURE, **tables)
    folder = tmp_path / "out" / "model"
    theirs = transformers.pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    ours = xfm.pipeline("text-classification", folder, precision="fp32")
    for text in ("a red square", "blue"):
        other = {one["label"]: one["score"] for one in theirs([text])[0]}
        assert {one["label"]: one["score"] for one in ours(text)} == pytest.approx(other, abs=1e-5)
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tables["test"]))
    more = ("--out", tmp_path / "scored", "--precision", "fp32")
    cli.prints("evaluate", folder, "--test", tmp_path / "new.jsonl", *more)
    again = read_scores(tmp_path / "scored" / "metrics.json")
    for name in (CALIBRATION, f"{CALIBRATION}_before"):
        key = f"text-classification/test/{name}"
        assert again[key].value == pytest.approx(done.scores[key].value, abs=1e-3)


@pytest.mark.parametrize(
    ("folds", "rows", "said"), [(0, 10, "not fitted: 10 validation rows"), (2, 0, "median of the folds")]
)
def test_without_enough_rows_it_is_said(
    model: Path, tmp_path: Path, folds: int, rows: int, said: str
) -> None:
    config = FinetuneConfig(**{**vars_of(SURE), "folds": folds, "steps": 20, "evaluate_every": 20})
    tables = {} if folds else {"valid": noisy(rows, 1), "test": noisy(30, 2)}
    done = on_table(model, noisy(300, 0), tmp_path / "out", config, **tables)
    assert said in details_of(tmp_path / "out")["temperature"]
    task: Any = done.task
    assert (task.module.task.temperature == 1) == (not folds)


def vars_of(config: FinetuneConfig) -> dict[str, Any]:
    return dict(vars(config))
