"""One and two texts, classes and values."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from tests.tasks.build import COLOURS, PAIRS, SINGLE, build
from xfm.config.finetune import FinetuneConfig
from xfm.core.errors import UserError
from xfm.finetuning.split_scores import groups_of
from xfm.finetuning.tuning_run import tune
from xfm.models.folder import Pretrained
from xfm.tasks.base import HiddenInput
from xfm.tasks.rows import TRUTH, LabelledText
from xfm.tasks.text_classification import TextClassificationTask, TextRegressionTask
from xfm.tasks.world_files import read_text_pairs


def test_the_files_of_the_embedded_world(pretrained: Pretrained, tiny_world: Path, tmp_path: Path) -> None:
    rows = read_text_pairs(tiny_world / "tasks/entailment/train.jsonl")
    assert {row.label for row in rows} == set(TRUTH)
    assert build(TextClassificationTask, pretrained, rows, TRUTH).collate(rows).targets.tolist() == [
        int(json.loads(line)["label"])
        for line in (tiny_world / "tasks/entailment/train.jsonl").read_text().splitlines()
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"text_a": "a", "text_b": "b", "label": true}\n{"text_a": "a", "text_b": "b", "label": "yes"}\n'
    )
    with pytest.raises(UserError, match=r"rows.jsonl:2: .*\"label\""):
        read_text_pairs(path)


def test_pairs_of_the_same_texts_are_no_independent_rows(pretrained: Pretrained) -> None:
    """The four pairs that two firsts and two seconds make are one group."""
    crossed = [
        LabelledText(f"{design} {first}", TRUTH[first == second], f"{design} so {second}")
        for design in ("cat", "dog", "sun")
        for first in range(2)
        for second in range(2)
    ]
    task = build(TextClassificationTask, pretrained, crossed, TRUTH)
    assert groups_of(task, crossed).tolist() == np.repeat([0, 1, 2], 4).tolist()
    alone = [LabelledText(row.text, row.label) for row in crossed]
    assert groups_of(task, alone).tolist() == list(range(12))


def test_the_pretrained_model_stays_and_its_copy_learns(pretrained: Pretrained) -> None:
    before = {name: value.clone() for name, value in pretrained.model.state_dict().items()}
    task = build(TextClassificationTask, pretrained, PAIRS, TRUTH)
    task.loss(task.collate(PAIRS[:4]), torch.Generator()).total.backward()
    missing = [n for n, p in task.module.language.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in missing if not name.endswith(("qkv.bias", "token_type"))]
    tune(task, FinetuneConfig(steps=2, batch_size=8, lr=3e-3))
    for name, value in pretrained.model.state_dict().items():
        assert torch.equal(before[name], value), f"fine-tuning changed the pre-trained {name}"


def test_heads_follow_from_the_seed_alone(pretrained: Pretrained) -> None:
    def head(seed: int) -> torch.Tensor:
        torch.rand(3)
        return build(TextClassificationTask, pretrained, PAIRS, TRUTH, seed=seed).module.head[0].weight

    assert torch.equal(head(0), head(0))
    assert not torch.equal(head(0), head(1))
    task = build(TextClassificationTask, pretrained, PAIRS, TRUTH)
    assert task.is_new("head.0.weight")
    assert not task.is_new("language.embeddings.words.weight")


def test_only_pairs_have_a_baseline_of_one_text() -> None:
    assert TextClassificationTask.single(PAIRS) == {HiddenInput.FIRST_TEXT: "second text only"}
    assert TextClassificationTask.single(SINGLE) == {}


def test_a_missing_second_text_is_refused(pretrained: Pretrained) -> None:
    task = build(TextClassificationTask, pretrained, PAIRS, TRUTH)
    with pytest.raises(ValueError, match="second text"):
        task.collate([PAIRS[0], SINGLE[0]])


# ---------------------------------------------------------------- values
def values(scale: float, shift: float) -> list[LabelledText]:
    return [replace(row, label=shift + scale * COLOURS.index(str(row.label))) for row in SINGLE]


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, -5.0), (4e4, 1e6)])
def test_values_of_any_scale_are_learned(pretrained: Pretrained, scale: float, shift: float) -> None:
    """The same predictions before and after the scale is worked into the last layer."""
    rows = values(scale, shift)
    task = build(TextRegressionTask, pretrained, rows)
    tune(task, FinetuneConfig(steps=150, batch_size=8, lr=3e-3))
    before = task.predict(rows)
    metrics = task.metrics(rows, before)
    assert min(metrics["pearson"], metrics["r2"]) > 0.95
    task.finish()
    np.testing.assert_allclose(task.predict(rows), before, rtol=1e-4, atol=1e-2 * scale)
    batch = task.collate(rows)
    with torch.no_grad():
        plain = task.module.eval()(tokens=batch.tokens)[:, 0]
    np.testing.assert_allclose(plain.numpy(), before, rtol=1e-4, atol=1e-2 * scale)


def test_correlations_are_those_of_scipy(pretrained: Pretrained) -> None:
    rows = values(1.0, 0.0)
    task = build(TextRegressionTask, pretrained, rows)
    guessed = np.random.default_rng(0).normal(size=len(rows)).tolist()
    truth = [float(row.label) for row in rows]
    found = task.metrics(rows, guessed)
    assert found["pearson"] == pytest.approx(pearsonr(truth, guessed)[0])
    assert found["spearman"] == pytest.approx(spearmanr(truth, guessed)[0])
    constant = task.metrics(rows, task.constants(rows)["mean of the training rows"])
    assert constant == {"pearson": 0.0, "spearman": 0.0, "r2": pytest.approx(0.0)}
    equal = [replace(row, label=2.0) for row in rows]
    assert build(TextRegressionTask, pretrained, equal).metrics(equal, guessed)["pearson"] == 0.0
