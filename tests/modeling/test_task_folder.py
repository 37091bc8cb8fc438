"""Folders of fine-tuned models, and of models without a tokenizer."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.evaluation.tiny import tiny_pretrained
from tests.modeling.test_folder import edit, save, sentence
from xfm.config.task import CLASSIFIERS, ImageHead, TaskConfig, TaskKind
from xfm.modeling.folder import load_model, save_model
from xfm.modeling.task_models import build_task_model


@pytest.mark.parametrize("kind", list(TaskKind))
def test_round_trip_of_a_task_model(tmp_path: Path, kind: TaskKind) -> None:
    """What a task model tuned takes the place of the model's parts, and is shared when it is loaded."""
    old = tiny_pretrained()
    classes = 3 if kind in CLASSIFIERS else 0
    for head in ImageHead if kind is TaskKind.IMAGE else (ImageHead.LINEAR,):
        task = build_task_model(TaskConfig(kind, classes, head), copy.deepcopy(old.model))
        with torch.no_grad():
            for parameter in task.parameters():
                parameter.add_(0.25)
        save_model(tmp_path / "m", old.model, old.tokenizer, old.preprocessing, old.provenance, task)
        new = load_model(tmp_path / "m")
        assert new.task is not None
        assert new.task.task == task.task
        assert not new.task.training
        own, expected = new.task.state_dict(), task.state_dict()
        assert own.keys() == expected.keys()
        assert all(torch.equal(own[name], tensor) for name, tensor in expected.items())
        shared, whole = new.task.shared_state(), new.model.state_dict()
        assert all(shared[name].data_ptr() == whole[name].data_ptr() for name in shared)
        untouched = whole.keys() - shared.keys()
        assert all(torch.equal(whole[name], old.model.state_dict()[name]) for name in untouched)


@pytest.mark.parametrize("name", ["task.json", "task.safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_damage_of_a_task_is_named(tmp_path: Path, name: str, keep: float) -> None:
    old = tiny_pretrained()
    task = build_task_model(TaskConfig(TaskKind.TEXT, 3), old.model)
    save_model(tmp_path / "m", old.model, old.tokenizer, old.preprocessing, old.provenance, task)
    whole = (tmp_path / "m" / name).read_bytes()
    (tmp_path / "m" / name).write_bytes(whole[: int(keep * len(whole))])
    assert str(tmp_path / "m" / name) in sentence(lambda: load_model(tmp_path / "m"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": 0}, "0 classes do not suit"),
        ({"classes": 4}, "head.3.weight has shape [3, 64]"),
        ({"kind": "translation"}, "kind cannot be 'translation'"),
        ({"kind": "image-classification"}, "task.safetensors"),
        ({"kind": "vqa", "classes": 0}, "task.safetensors"),
    ],
)
def test_a_wrong_task_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    old = tiny_pretrained()
    task = build_task_model(TaskConfig(TaskKind.TEXT, 3), old.model)
    save_model(tmp_path / "m", old.model, old.tokenizer, old.preprocessing, old.provenance, task)
    edit(tmp_path / "m" / "task.json", lambda values: values.update(change))
    assert words in sentence(lambda: load_model(tmp_path / "m"))


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    old = tiny_pretrained()
    save(tmp_path / "m", replace(old, given_tokenizer=None))
    new = load_model(tmp_path / "m")
    assert new.given_tokenizer is None
    assert "--tokenizer" in sentence(lambda: new.tokenizer)
    old.tokenizer.save(tmp_path / "m" / "tokenizer.json")
    assert load_model(tmp_path / "m").tokenizer.to_json() == old.tokenizer.to_json()
