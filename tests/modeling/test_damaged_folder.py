"""Every kind of damage of a model folder is named, with its file."""

import functools
import itertools
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.modeling.conftest import FILES
from tests.refusals import expect_refusal
from xfm.cli.info import describe
from xfm.config.labels import MatchCalibration
from xfm.core.errors import UserError
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


def cut(share: float) -> Callable[[Path], object]:
    """Keep a share of a file, of which the last line's end is no part."""
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * (path.stat().st_size - 3))])


def holding(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "missing": Path.unlink,
    "a folder": become_a_folder,
    "a pipe": become_a_pipe,
    "cut": cut(0.4),
    "deep": holding(b"[" * 100_000),
}
DAMAGED = [
    *itertools.product(FILES, ("missing", "cut")),
    *itertools.product(FILES[:2], ("a folder", "a pipe", "deep")),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
def test_a_damaged_file_is_named(tuned: Path, name: str, damage: str) -> None:
    DAMAGE[damage](tuned / name)
    with expect_refusal(str(tuned / name)):
        load_model(tuned)


def test_what_is_no_folder_of_a_model_is_named(tmp_path: Path) -> None:
    with expect_refusal(str(tmp_path / "nowhere" / "config.json"), "missing"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "a.th").write_bytes(b"1")
    with expect_refusal("xfm convert"):
        load_model(tmp_path / "a.th")


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("config.json", {"vision.colour": 3}, "unknown field vision.colour"),
        ("config.json", {"vision.width": "32"}, "vision.width is '32'"),
        ("config.json", {"vision.positions": "rotary"}, "vision.positions: 'rotary' is none of"),
        ("config.json", {"vision.patch_size": 7}, "patch_size must divide"),
        ("config.json", {"language.vocab_size": 10**13}, "language.vocab_size is 1"),
        ("config.json", {"vision.image_size": 4096, "vision.patch_size": 16}, "number of patches"),
        ("config.json", {"vision.mlp_ratio": math.nan}, "vision.mlp_ratio is nan"),
        ("config.json", {"model_type": "bert"}, "of the kind bert"),
        ("config.json", {"fusion": None}, "fusion is empty"),
        ("preprocessing.json", {"image_size": 64}, "image_size"),
        ("preprocessing.json", {"std": [math.nan, 1.0, 1.0]}, "std must be three numbers"),
        ("provenance.json", {"init": "x"}, "init cannot be 'x'"),
        ("calibration.json", {"slope": -1.0}, "slope is -1.0"),
        ("provenance.json", {"position": {"minutes": "x"}}, "position.minutes must be a number"),
        ("task.json", {"threshold": math.nan}, "threshold is nan"),
        ("task.json", {"classes": 0}, "0 classes do not suit"),
        ("task.json", {"kind": "translation"}, "unknown task translation"),
    ],
)
def test_a_wrong_value_is_named(tuned: Path, name: str, changes: dict[str, Any], words: str) -> None:
    if name == "calibration.json":
        write_calibration(tuned, MatchCalibration(0.25, -0.5, 1000, "pairs"))
    edit(tuned / name, changes)
    with expect_refusal(str(tuned / name), words):
        load_model(tuned)


def test_long_names_of_a_file_are_cut(tuned: Path) -> None:
    edit(tuned / "task.json", {"labels" * 500: 1})
    with pytest.raises(UserError, match=r"\.\.\.") as caught:
        load_model(tuned)
    assert len(str(caught.value)) < len(str(tuned)) + 620


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


@pytest.mark.parametrize("dtype", [torch.int64, torch.float8_e4m3fn])
def test_weights_of_other_types_are_refused(saved: Path, dtype: torch.dtype) -> None:
    path = saved / "model.safetensors"
    state = load_file(path)
    save_file(state | {"vision_proj.weight": state["vision_proj.weight"].to(dtype)}, path)
    with pytest.raises(UserError, match=r"vision_proj\.weight") as found:
        load_model(saved)
    assert "truncated" not in str(found.value)


def test_the_tokenizer_of_a_larger_vocabulary_is_named(saved: Path) -> None:
    words = [f"{a}{b}{c}" for a in "abcdefg" for b in "hijklmn" for c in "opqrstu"]
    train_tokenizer(words, 500).save(saved / "tokenizer.json")
    with expect_refusal(str(saved / "tokenizer.json")):
        load_model(saved)


def test_info_of_what_yaml_cannot_hold(saved: Path) -> None:
    provenance = (saved / "provenance.json").read_text()
    (saved / "provenance.json").write_text('{"a": ' + "[" * 900 + "]" * 900 + "}")
    with expect_refusal("levels deep"):
        describe(str(saved))
    (saved / "provenance.json").write_text(provenance)
    edit(saved / "config.json", {"vision.image_width": "x"})
    assert "image_width: x" in describe(str(saved))
