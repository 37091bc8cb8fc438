"""Rows with any number of labels, and classes with weights: from a table to answers and scores."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

import xfm
from tests.alike import some, thorough
from tests.evaluation.tiny import tiny_task
from tests.finetuning.conftest import SAMPLES, SHORT, Cli, on_table
from tests.reports.written import details_of, json_lines, page_of
from xfm.config.finetune import Preset
from xfm.config.labels import LabelKind
from xfm.data.tables import split_rows
from xfm.finetuning.baselines.strong import baselines_of
from xfm.finetuning.data import strata_of, with_all_labels
from xfm.finetuning.probing import fit_linear
from xfm.tasks.rows import LabelledText
from xfm.tasks.text_classification import TextClassificationTask

COLOURS = ("red", "green", "blue")
SEVERAL = replace(SHORT, multi_label=True)
FAST = replace(SEVERAL, preset=Preset.FAST, steps=0, batch_size=0)
KINDS = ("text-classification", "two texts", "image-classification", "image-text-classification")


def rows_of(kind: str, count: int = 60) -> list[dict[str, Any]]:
    """Rows whose text names the colours that are their labels; every fifth names none."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        own = [colour for colour in COLOURS if number % 5 and rng.random() < 0.5]
        text = f"a {' '.join(own)} square {number}"
        row: dict[str, Any] = {"label": "|".join(own)}
        if kind != "image-classification":
            row["text"] = text
        if kind == "two texts":
            row["text_pair"] = f"it is {number}"
        if kind.startswith("image"):
            row["image"] = str(SAMPLES / "pictures" / f"{number % 10 + 1}.png")
        found.append(row)
    return found


def written(folder: Path, rows: Sequence[dict[str, Any]], name: str = "rows.csv") -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, [*rows[0]])
        out.writeheader()
        out.writerows(rows)
    return path


@pytest.mark.parametrize(
    ("kind", "config"), some([(kind, config) for kind in KINDS for config in (SEVERAL, FAST)], 8)
)
def test_every_task_of_labels_from_a_table(kind, config, model, tmp_path):
    rows, out = rows_of(kind), tmp_path / "out"
    task = "text-classification" if kind == "two texts" else kind
    done = on_table(model, rows, out, config, task)
    metrics = {"f1_micro", "f1_macro", "mean_ap", "exact_match", "calibration_error"}
    assert {key.rsplit("/", 1)[1] for key in done.scores} == metrics
    board = done.leaderboards["test"]
    probe = "linear probe of the frozen features"
    placed = {place.name for place in board.places}
    assert {*baselines_of(done.task)} - {probe if config is FAST else ""} <= placed
    assert board.missing == {}
    assert {"most frequent set of labels", "the most frequent labels"} < placed
    told = json.loads((out / "model" / "task.json").read_text())
    assert (told["label_kind"], told["labels"]) == ("several", [*sorted(COLOURS)])
    assert told["threshold"] == done.task.labels.threshold
    assert "validation rows" in details_of(out)["threshold"]
    page = page_of(out)
    assert "Threshold" in page
    assert "Confusion matrix" not in page
    inputs = [{name: cell for name, cell in row.items() if name != "label"} for row in rows[:6]]
    ask = xfm.pipeline(task, model=out / "model", precision="fp32")
    for answer in ask(inputs):
        assert {one["label"] for one in answer} == {*COLOURS}
        assert all(one["chosen"] == (one["score"] >= told["threshold"]) for one in answer)
        assert [one["score"] for one in answer] == sorted((one["score"] for one in answer), reverse=True)
    few = ask(inputs, top_k=1)
    assert [len(one) for one in few] == [max(1, sum(o["chosen"] for o in a)) for a in ask(inputs)]
    scored = xfm.score(out / "model", rows, tmp_path / "scored", progress=False, precision="fp32")
    assert {key.rsplit("/", 1)[1] for key in scored.scores} == metrics


def test_what_is_learned_is_answered_on_the_command_line(model: Path, tmp_path: Path, cli: Cli) -> None:
    """With labels that a JSON list holds, a separator of one's own, and a threshold that is given."""
    rows = rows_of("text-classification")
    lists = [{**row, "label": json.dumps(row["label"].split("|") if row["label"] else [])} for row in rows]
    semicolons = [{**row, "label": row["label"].replace("|", "; ")} for row in rows]
    table = written(tmp_path, lists)
    options = ("--multi-label", "--preset", "fast", "--precision", "fp32", "--threshold", "0.5")
    given = ("text-classification", "--model", model, "--train", table, "--out", tmp_path / "out", *options)
    cli.prints("finetune", *given)
    out = tmp_path / "answers.jsonl"
    asked = ("--model", tmp_path / "out", "--input", table, "--out", out, "--precision", "fp32")
    cli.prints("predict", "text-classification", *asked)
    said = [{one["label"] for one in line["prediction"] if one["chosen"]} for line in json_lines(out)]
    right = [set(row["label"].split("|")) - {""} for row in rows]
    assert np.mean([one == other for one, other in zip(said, right, strict=True)]) > 0.9
    assert details_of(tmp_path / "out")["threshold"] == "0.5, given"
    test = written(tmp_path, semicolons, "semicolons.csv")
    options = ("--label-separator", ";", "--out", tmp_path / "scored", "--precision", "fp32")
    told = cli.prints("evaluate", tmp_path / "out", "--test", test, *options)
    assert "rows with all labels right" in told
    again = json.loads((tmp_path / "scored" / "metrics.json").read_text())
    assert again["text-classification/test/exact_match"]["value"] > 0.9


@thorough
def test_class_weights_are_used_everywhere_and_reported(model: Path, tmp_path: Path) -> None:
    kind = "text-classification"
    rows = [
        {**row, "label": "rare" if number % 6 == 0 else "usual"} for number, row in enumerate(rows_of(kind))
    ]
    out = tmp_path / "out"
    done = on_table(model, rows, out, replace(SHORT, class_weights="balanced", baseline=False), kind)
    weights = done.task.weights
    counts = {name: sum(row.label == name for row in done.task.train_rows) for name in weights}
    assert weights == pytest.approx({name: sum(counts.values()) / (2 * own) for name, own in counts.items()})
    assert details_of(out)["class_weights"].startswith("balanced: rare ")
    assert "Class weights" in page_of(out)
    given = replace(SHORT, class_weights={"rare": 4.0}, baseline=False)
    done = on_table(model, rows, tmp_path / "given", given, kind)
    assert done.task.weights == {"rare": 4.0, "usual": 1.0}
    assert details_of(tmp_path / "given")["class_weights"] == "rare 4, usual 1"


# ---------------------------------------------------------------- parts that part and fit
SETS = st.lists(st.lists(st.sampled_from("abcde"), unique=True, max_size=3), min_size=8, max_size=60)


@given(SETS, st.integers(0, 5))
def test_every_label_of_a_drawn_split_is_in_the_training_rows(sets: list[list[str]], seed: int) -> None:
    rows = [LabelledText(f"{place % 17}", tuple(sorted(own))) for place, own in enumerate(sets)]
    groups = [row.text for row in rows]
    parts = split_rows(groups, strata_of(TextClassificationTask, rows), {"valid": 0.3, "test": 0.2}, seed)
    found = with_all_labels([row.label for row in rows], groups, parts)  # pyright: ignore[reportArgumentType]
    assert sorted(row for part in found.values() for row in part) == list(range(len(rows)))
    assert {name for row in found["rest"] for name in sets[row]} == {name for own in sets for name in own}
    homes = {groups[row]: {part for part, own in found.items() if groups[row] in {groups[o] for o in own}}
             for row in range(len(rows))}  # fmt: skip
    assert all(len(home) == 1 for home in homes.values())


@given(st.integers(0, 100), st.floats(-3, 0))
@settings(max_examples=15)
def test_the_probe_is_scikit_learns_one_versus_the_rest(seed: int, exponent: float) -> None:
    rng, penalty = np.random.default_rng(seed), 10.0**exponent
    features = (rng.normal(size=(90, 6)) * rng.uniform(0.01, 50, 6) + rng.normal(size=6) * 100).astype("f4")
    flags = rng.random((90, 3)) < (0.2, 0.5, 0.8)
    flags[:2] = [[True] * 3, [False] * 3]
    rows = [LabelledText(f"{n}", tuple(np.array(COLOURS)[own])) for n, own in enumerate(flags)]
    task = tiny_task(TextClassificationTask, rows, COLOURS, label_kind=LabelKind.SEVERAL)
    fit = fit_linear(task, (rows, features), ((), features[:0]), penalties=(penalty,))
    scaled = StandardScaler().fit_transform(features.astype("f8"))
    right = OneVsRestClassifier(LogisticRegression(C=penalty, tol=1e-8, max_iter=5000)).fit(scaled, flags)
    found = [one.probabilities for one in fit.predictions(task, features)]
    np.testing.assert_allclose(found, right.predict_proba(scaled), atol=5e-3)
