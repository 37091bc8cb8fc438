from dataclasses import replace
from pathlib import Path

import pytest
import torch

from xfm.config.evaluation import FineTuneConfig
from xfm.config.training import Precision
from xfm.errors import UserError
from xfm.modeling.folder import Pretrained
from xfm.tasks.base import Blanked, TaskSettings
from xfm.tasks.fine_tune import fine_tune
from xfm.tasks.text_pair import TextPairTask

SETTINGS = TaskSettings(batch_size=8, precision=Precision.FP32)


@pytest.fixture
def task(pretrained: Pretrained, tiny_world: Path) -> TextPairTask:
    rows = TextPairTask.read(tiny_world / "tasks/entailment/train.jsonl")
    return TextPairTask(pretrained, rows, SETTINGS)


def test_overfits_a_handful_of_rows(pretrained: Pretrained, tiny_world: Path) -> None:
    rows = TextPairTask.read(tiny_world / "tasks/entailment/train.jsonl")[::3]
    task = TextPairTask(pretrained, rows, SETTINGS)
    before = {name: value.clone() for name, value in pretrained.model.state_dict().items()}
    tuning = fine_tune(task, FineTuneConfig(steps=200, batch_size=8, lr=3e-3))
    assert len(tuning.losses) == 200
    assert tuning.losses[-1] < 0.2 * tuning.losses[0]
    assert task.metrics(rows, task.predict(rows)) == {"accuracy": 1.0}
    for name, value in pretrained.model.state_dict().items():
        assert torch.equal(before[name], value), f"fine-tuning changed the pre-trained {name}"


def test_gradients_reach_the_language_encoder(task: TextPairTask) -> None:
    batch = task.collate(task.train_rows[:4])
    task.loss(batch, torch.Generator()).total.backward()
    missing = [n for n, p in task.module.language.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in missing if not name.endswith(("qkv.bias", "token_type"))]


def test_hypothesis_only_never_sees_the_first_text(pretrained: Pretrained, task: TextPairTask) -> None:
    rows = task.train_rows
    other = [replace(row, text_a="yes it is where") for row in rows]
    blind = TextPairTask(pretrained, rows, replace(SETTINGS, blanked=Blanked.FIRST_TEXT))
    for ours, theirs in ((blind.collate(rows), blind.collate(other)),):
        assert torch.equal(ours.tokens.ids, theirs.tokens.ids)
        assert torch.equal(ours.tokens.mask, theirs.tokens.mask)
    assert not torch.equal(task.collate(rows).tokens.ids, task.collate(other).tokens.ids)


def test_heads_follow_from_the_seed_alone(pretrained: Pretrained, task: TextPairTask) -> None:
    torch.rand(3)
    again = TextPairTask(pretrained, task.train_rows, SETTINGS)
    other = TextPairTask(pretrained, task.train_rows, replace(SETTINGS, seed=1))
    assert torch.equal(task.module.head[0].weight, again.module.head[0].weight)
    assert not torch.equal(task.module.head[0].weight, other.module.head[0].weight)
    assert task.is_new("head.0.weight")
    assert not task.is_new("language.embeddings.words.weight")


def test_impossible_baseline_is_refused(pretrained: Pretrained, task: TextPairTask) -> None:
    with pytest.raises(ValueError, match="has no picture"):
        TextPairTask(pretrained, task.train_rows, replace(SETTINGS, blanked=Blanked.PICTURE))


def test_a_wrong_label_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"text_a": "a", "text_b": "b", "label": true}\n{"text_a": "a", "text_b": "b", "label": "yes"}\n'
    )
    with pytest.raises(UserError, match=r"rows.jsonl:2: the field \"label\""):
        TextPairTask.read(path)
