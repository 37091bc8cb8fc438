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
from xfm.cli.describe import describe
from xfm.core.errors import UserError
from xfm.data.tokenizer import train_tokenizer
from xfm.models.folder import load_model


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


CUTS = {"empty": cut(0), "cut at 40 %": cut(0.4), "cut at 99 %": cut(0.99)}
DAMAGE = {"missing": Path.unlink, "a folder": become_a_folder, **CUTS}
OF_JSON = {
    "an open brace": holding(b"{"),
    "a list": holding(b"[1, 2]"),
    "null": holding(b"null"),
    "no text": holding(b"\0\xff"),
    "deep": holding(b"[" * 100_000),
}
DAMAGED = [
    *itertools.product(FILES, DAMAGE),
    *itertools.product([name for name in FILES if name.endswith("json")], OF_JSON),
    *itertools.product(["task.json", "task.safetensors"], CUTS),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
def test_a_damaged_file_is_named(tuned: Path, name: str, damage: str) -> None:
    (DAMAGE | OF_JSON)[damage](tuned / name)
    with expect_refusal(str(tuned / name)):
        load_model(tuned)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("calibration.json", holding(b"{}"), "slope is missing"),
        ("config.json", holding(b'{"temperature": ' + b"1" * 5000 + b"}"), "is not valid JSON"),
        ("tokenizer.json", holding(b'{"temperature": ' + b"1" * 5000 + b"}"), "not a tokenizer.json"),
        ("tokenizer.json", become_a_pipe, "it is a pipe or a device, not a file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_to_a_user(
    saved: Path, name: str, damage: Callable[[Path], object], words: str
) -> None:
    damage(saved / name)
    with pytest.raises(UserError) as caught:
        load_model(saved)
    assert str(saved / name) in str(caught.value)
    assert words in str(caught.value)
    assert not any(word in str(caught.value) for word in ("set_int", "__init__", "no such"))


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
        ("config.json", {"decoder": {}}, "unknown field decoder"),
        ("config.json", {"vision.width": "32"}, "vision.width is '32'"),
        ("config.json", {"language.depth": True}, "language.depth is True"),
        ("config.json", {"vision.positions": "rotary"}, "vision.positions: 'rotary' is none of"),
        ("config.json", {"vision.patch_size": 7}, "patch_size must divide"),
        ("config.json", {"vision.heads": 0}, "vision.heads is 0"),
        ("config.json", {"language.vocab_size": 10**13}, "language.vocab_size is 1"),
        ("config.json", {"fusion.depth": 10**9}, "fusion.depth is 1"),
        ("config.json", {"vision.image_size": 2048, "vision.patch_size": 1}, "patch_size is 2048"),
        ("config.json", {"vision.image_size": 4096, "vision.patch_size": 16}, "number of patches"),
        ("config.json", {"vision.mlp_ratio": math.nan}, "vision.mlp_ratio is nan"),
        ("config.json", {"temperature": 3}, "temperature must lie in"),
        ("config.json", {"model_type": "bert"}, "of the kind bert"),
        ("config.json", {"fusion": None}, "vision and fusion are there together"),
        ("config.json", {"fusion": []}, "fusion must be a mapping"),
        ("preprocessing.json", {"colour": "grey"}, "colour"),
        ("preprocessing.json", {"mean": [0.5, 0.5]}, "mean"),
        ("preprocessing.json", {"std": [0.5, "0.5", 0.5]}, "std"),
        ("preprocessing.json", {"image_size": None}, "image_size"),
        ("preprocessing.json", {"image_size": 64}, "image_size"),
        ("preprocessing.json", {"std": [0.0, 1.0, 1.0]}, "std must be larger than 0"),
        ("preprocessing.json", {"std": [math.nan, 1.0, 1.0]}, "std must be three numbers"),
        ("preprocessing.json", {"interpolation": "nearest"}, "only bicubic"),
        ("provenance.json", {"init": "x"}, "init cannot be 'x'"),
        ("provenance.json", {"fresh": 5}, "fresh cannot be 5"),
        ("provenance.json", {"position": {"minutes": "x"}}, "position.minutes must be a number"),
        ("provenance.json", {"data": json.loads("[" * 150 + "]" * 150)}, "more than 100 levels deep"),
        ("task.json", {"threshold": math.nan}, "threshold is nan"),
        ("task.json", {"classes": 0}, "0 classes do not suit"),
        ("task.json", {"classes": 10**12}, "classes is 1000000000000"),
        ("task.json", {"kind": "translation"}, "unknown task translation"),
        ("task.json", {"kind": "embed"}, "no model is fine-tuned for embed"),
    ],
)
def test_a_wrong_value_is_named(tuned: Path, name: str, changes: dict[str, Any], words: str) -> None:
    edit(tuned / name, changes)
    with expect_refusal(str(tuned / name), words):
        load_model(tuned)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("task.json", {"kind": "a-task" * 500}),
        ("task.json", {"labels" * 500: 1}),
        ("task.json", {"image_head": "flat" * 500}),
        ("config.json", {"model_type": "bert" * 500}),
        ("config.json", {"vision." + "colour" * 500: 3}),
    ],
)
def test_long_names_of_a_file_are_cut(tuned: Path, name: str, changes: dict[str, Any]) -> None:
    edit(tuned / name, changes)
    with pytest.raises(UserError) as caught:
        load_model(tuned)
    assert str(tuned / name) in str(caught.value)
    assert "..." in str(caught.value)
    assert len(str(caught.value)) < len(str(tuned / name)) + 600


HUGE = {"language.vocab_size": 10**7, "language.width": 65_536, "language.heads": 1}
"""2.5 TB: the shapes of the file are compared before anything is built."""


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("config.json", {"projection": 24}, ["vision_proj.weight has shape [16, 32]", "[24, 32]"]),
        ("config.json", HUGE, ["but config.json says [", "65536"]),
        ("config.json", {"fusion.depth": 1}, ["fusion.layers.1.attention.norm.bias", "20 are unknown"]),
        (
            "config.json",
            {"fusion.depth": 3},
            ["fusion.layers.2.attention.norm.bias", "20 tensors are missing"],
        ),
        ("task.json", {"classes": 4}, ["head.3.weight has shape [3, 64]"]),
        ("task.json", {"classes": 10**7}, ["task.json says [10000000, 64]"]),
        ("task.json", {"kind": "image-classification"}, []),
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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_named(saved: Path, value: float, dtype: torch.dtype) -> None:
    path = saved / "model.safetensors"
    state = {name: t.to(dtype) for name, t in load_file(path).items()}
    save_file(state, path)
    load_model(saved)
    state["vision_proj.weight"][1, 2] = value
    save_file(state, path)
    with expect_refusal(f"{path}: vision_proj.weight holds values that are infinite"):
        load_model(saved)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn])
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
