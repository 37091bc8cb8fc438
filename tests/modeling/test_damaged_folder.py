"""What is wrong in a model folder is named, with its file."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.refusals import expect_refusal
from xfm.config.labels import MatchCalibration
from xfm.data.tokenizer import train_tokenizer
from xfm.models.folder import load_model
from xfm.models.model_files import write_calibration


def edit(path: Path, changes: dict[str, Any]) -> None:
    """Set fields of a JSON file by their dotted names."""
    values = json.loads(path.read_text())
    for name, value in changes.items():
        *above, last = name.split(".")
        functools.reduce(dict.__getitem__, above, values)[last] = value
    path.write_text(json.dumps(values))


def test_what_is_no_folder_of_a_model_is_named(tmp_path: Path) -> None:
    with expect_refusal(str(tmp_path / "nowhere" / "config.json"), "No such file"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "a.th").write_bytes(b"1")
    with expect_refusal("xfm convert"):
        load_model(tmp_path / "a.th")


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("config.json", {"vision.colour": 3}, "unknown field vision.colour"),
        ("config.json", {"vision.patch_size": 7}, "patch_size must divide"),
        ("config.json", {"language.vocab_size": 10**13}, "language.vocab_size is 1"),
        ("config.json", {"model_type": "bert"}, "of the kind bert"),
        ("preprocessor_config.json", {"std": [math.nan, 1.0, 1.0]}, "std must be three numbers"),
        ("calibration.json", {"slope": -1.0}, "slope is -1.0"),
        ("provenance.json", {"position": {"minutes": "x"}}, "position.minutes must be a number"),
        ("task.json", {"threshold": math.nan}, "threshold is nan"),
        ("task.json", {"kind": "translation"}, "unknown task translation"),
    ],
)
def test_a_wrong_value_is_named(tuned: Path, name: str, changes: dict[str, Any], words: str) -> None:
    if name == "calibration.json":
        write_calibration(tuned, MatchCalibration(0.25, -0.5, 1000, "pairs"))
    edit(tuned / name, changes)
    with expect_refusal(str(tuned / name), words):
        load_model(tuned)


HUGE = {"language.vocab_size": 10**7, "language.width": 65_536, "language.heads": 1}
"""2.5 TB: the shapes of the file are compared before anything is built."""


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("config.json", {"projection": 24}, ["vision_proj.weight has shape [16, 32]", "[24, 32]"]),
        ("config.json", HUGE, ["but config.json says [", "65536"]),
        (
            "config.json",
            {"fusion.depth": 3},
            ["fusion.layers.2.attention.norm.bias", "20 tensors are missing"],
        ),
        ("task.json", {"classes": 4}, ["head.3.weight has shape [3, 64]"]),
        ("task.json", {"kind": "vqa", "classes": 0}, []),
    ],
)
def test_tensors_of_another_configuration_are_named(
    tuned: Path, name: str, changes: dict[str, Any], words: list[str]
) -> None:
    edit(tuned / name, changes)
    weights = {"config.json": "model.safetensors", "task.json": "task.safetensors"}[name]
    with expect_refusal(str(tuned / weights), *words):
        load_model(tuned)


@pytest.mark.parametrize(("value", "dtype"), [(math.nan, torch.float64), (-math.inf, torch.bfloat16)])
def test_weights_that_are_no_numbers_are_named(saved: Path, value: float, dtype: torch.dtype) -> None:
    path = saved / "model.safetensors"
    state = {name: t.to(dtype) for name, t in load_file(path).items()}
    save_file(state, path)
    load_model(saved)
    state["vision_proj.weight"][1, 2] = value
    save_file(state, path)
    with expect_refusal(f"{path}: vision_proj.weight holds values that are infinite"):
        load_model(saved)


def test_the_tokenizer_of_a_larger_vocabulary_is_named(saved: Path) -> None:
    words = [f"{a}{b}{c}" for a in "abcdefg" for b in "hijklmn" for c in "opqrstu"]
    train_tokenizer(words, 500).save(saved / "tokenizer.json")
    with expect_refusal(str(saved / "tokenizer.json")):
        load_model(saved)
