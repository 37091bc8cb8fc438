"""Folders of fine-tuned models, and of models without a tokenizer."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.evaluation.tiny import tiny_pretrained
from tests.modeling.test_folder import edit, save, sentence
from xfm.config.task import ImageHead, TaskConfig
from xfm.config.tasks import task_spec, task_specs
from xfm.info import describe
from xfm.modeling.folder import load_model, save_model
from xfm.modeling.task_models import build_task_model


@pytest.mark.parametrize("kind", [spec.name for spec in task_specs(tunable=True)])
def test_round_trip_of_a_task_model(tmp_path: Path, kind: str) -> None:
    """What a task model tuned takes the place of the model's parts, and is shared when it is loaded."""
    old = tiny_pretrained()
    classes = 3 if task_spec(kind).classes else 0
    for head in ImageHead if kind == "image-classification" else (ImageHead.LINEAR,):
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
    task = build_task_model(TaskConfig("text-classification", 3), old.model)
    save_model(tmp_path / "m", old.model, old.tokenizer, old.preprocessing, old.provenance, task)
    whole = (tmp_path / "m" / name).read_bytes()
    (tmp_path / "m" / name).write_bytes(whole[: int(keep * len(whole))])
    assert str(tmp_path / "m" / name) in sentence(lambda: load_model(tmp_path / "m"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": 0}, "0 classes do not suit"),
        ({"classes": 4}, "head.3.weight has shape [3, 64]"),
        ({"kind": "translation"}, "task.json: unknown task translation"),
        ({"kind": "image-classification"}, "task.safetensors"),
        ({"kind": "vqa", "classes": 0}, "task.safetensors"),
    ],
)
def test_a_wrong_task_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    old = tiny_pretrained()
    task = build_task_model(TaskConfig("text-classification", 3), old.model)
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


def test_a_claim_of_classes_takes_no_memory(tmp_path: Path) -> None:
    old = tiny_pretrained()
    task = build_task_model(TaskConfig("text-classification", 3), old.model)
    save_model(tmp_path / "m", old.model, old.tokenizer, old.preprocessing, old.provenance, task)
    for classes, words in ((10**12, "classes is 1000000000000"), (10**7, "task.json says [10000000, 64]")):
        edit(tmp_path / "m" / "task.json", lambda values, classes=classes: values.update(classes=classes))
        assert words in sentence(lambda: load_model(tmp_path / "m"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"std": [0.0, 1.0, 1.0]}, "std must be larger than 0"),
        ({"std": [float("nan"), 1.0, 1.0]}, "std must be three numbers"),
        ({"mean": [float("inf"), 1.0, 1.0]}, "mean must be three numbers"),
        ({"interpolation": "nearest"}, "only bicubic"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    save(tmp_path / "m", tiny_pretrained())
    edit(tmp_path / "m" / "preprocessing.json", lambda values: values.update(change))
    assert words in sentence(lambda: load_model(tmp_path / "m"))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn])
def test_weights_of_other_types_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    save(tmp_path / "m", tiny_pretrained())
    path = tmp_path / "m" / "model.safetensors"
    state = load_file(path)
    save_file(state | {"vision_proj.weight": state["vision_proj.weight"].to(dtype)}, path)
    message = sentence(lambda: load_model(tmp_path / "m"))
    assert "vision_proj.weight" in message
    assert "truncated" not in message


def test_info_of_what_yaml_cannot_hold(tmp_path: Path) -> None:
    save(tmp_path / "m", tiny_pretrained())
    (tmp_path / "m" / "provenance.json").write_text('{"a": ' + "[" * 900 + "]" * 900 + "}")
    assert "levels deep" in sentence(lambda: describe(str(tmp_path / "m")))
    save(tmp_path / "m", tiny_pretrained())
    edit(tmp_path / "m" / "config.json", lambda values: values["vision"].update(image_width="x"))
    assert "image_width: x" in describe(str(tmp_path / "m"))
