"""A model folder survives the round trip, a failing save and every kind of damage."""

import errno
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tests.evaluation.tiny import tiny_pretrained
from tests.failing import fail_rename
from xfm.config.model import Positions
from xfm.data.tokenizer import train_tokenizer
from xfm.errors import UserError
from xfm.modeling import model_files
from xfm.modeling import weights as weights_module
from xfm.modeling.folder import Preprocessing, Pretrained, load_model, save_model
from xfm.modeling.xfm import XFM

FILES = ("model.safetensors", "config.json", "tokenizer.json", "preprocessing.json", "provenance.json")
WRITTEN = sorted([*FILES, "preprocessor_config.json"])  # the last is for transformers


def save(folder: Path | str, pretrained: Pretrained) -> None:
    tokenizer = pretrained.given_tokenizer
    save_model(folder, pretrained.model, tokenizer, pretrained.preprocessing, pretrained.provenance)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sentence(act: Callable[[], object]) -> str:
    """The message of the UserError that the act raises: one line without a stack trace's remains."""
    with pytest.raises(UserError) as found:
        act()
    message = str(found.value)
    assert "\n" not in message
    return message


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tmp_path / "model", tiny_pretrained())
    return tmp_path / "model"


# ---------------------------------------------------------------- round trip
@pytest.mark.parametrize("as_text", [False, True])
def test_round_trip(tmp_path: Path, as_text: bool) -> None:
    old = tiny_pretrained()
    config = replace(
        old.model.config, vision=replace(old.model.config.vision, positions=Positions.SINE_2D, mlp_ratio=2)
    )
    preprocessing = Preprocessing(32, (0.1, 0.25, 1 / 3), (1.0, 0.7, 0.2))
    provenance = {"recipe": "tiny", "steps": 7, "versions": {"xfm": "1"}, "scores": [0.5, None]}
    model = XFM(config)
    folder = tmp_path / "some" / "where" / "model"
    save_model(str(folder) if as_text else folder, model, old.tokenizer, preprocessing, provenance)
    assert sorted(content(folder)) == WRITTEN
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755

    new = load_model(str(folder) if as_text else folder)
    assert new.model.config == config
    assert new.preprocessing == preprocessing
    assert hash(new.preprocessing) == hash(preprocessing)
    assert new.provenance == provenance
    assert new.tokenizer.to_json() == old.tokenizer.to_json()
    assert not new.model.training
    assert new.model.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, new.model.state_dict()[name]), name
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval().embed_image(pixels), new.model.embed_image(pixels))


def test_a_second_save_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    save(tmp_path / "again", load_model(saved))
    assert content(tmp_path / "again") == content(saved)


def test_paths_in_the_provenance_are_written_as_text(tmp_path: Path) -> None:
    save(tmp_path / "model", replace(tiny_pretrained(), provenance={"root": Path("a/b")}))
    assert load_model(tmp_path / "model").provenance == {"root": "a/b"}


def test_fields_that_are_not_there_take_their_defaults(saved: Path) -> None:
    def drop(values: dict[str, Any]) -> None:
        del values["vision"]["init_std"], values["temperature"]

    edit(saved / "config.json", drop)
    config = load_model(saved).model.config
    assert (config.vision.init_std, config.temperature) == (0.02, 0.07)


# ---------------------------------------------------------------- saving
def test_an_existing_folder_is_replaced(saved: Path) -> None:
    (saved / "notes.txt").write_text("of the old model")
    save(saved, tiny_pretrained(seed=2))
    assert sorted(content(saved)) == WRITTEN
    assert [path.name for path in saved.parent.iterdir()] == ["model"]
    expected = tiny_pretrained(seed=2).model.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in load_model(saved).model.state_dict().items())


def test_a_linked_folder_is_replaced_behind_its_link(saved: Path) -> None:
    link = saved.parent / "latest"
    link.symlink_to(saved, target_is_directory=True)
    save(link, tiny_pretrained(seed=2))
    assert link.is_symlink()
    expected = tiny_pretrained(seed=2).model.temperature
    assert torch.equal(load_model(saved).model.temperature, expected)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["latest", "model"]


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="loop is a link to itself"):
        save(tmp_path / "loop", tiny_pretrained())
    (tmp_path / "later").symlink_to(tmp_path / "elsewhere")  # a place that is made by saving
    save(tmp_path / "later", tiny_pretrained())
    assert (tmp_path / "elsewhere" / "config.json").is_file()


@pytest.mark.parametrize("failing", [1, 2, 3])  # the tokenizer's own, the old folder's, the new folder's
def test_a_failing_rename(saved: Path, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(saved)
    fail_rename(monkeypatch, failing)
    message = sentence(lambda: save(saved, tiny_pretrained(seed=2)))
    assert str(saved) in message
    assert "Input/output error" in message
    assert content(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def full_as_os(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_as_safetensors(*_: object, **__: object) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("fail", [full_as_os, full_as_safetensors])
def test_a_full_disk(
    tmp_path: Path, fail: Callable[..., None], existing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    if existing:
        save(folder, tiny_pretrained())
    before = content(folder) if existing else None
    monkeypatch.setattr(weights_module, "save_file", fail)
    message = sentence(lambda: save(folder, tiny_pretrained(seed=2)))
    assert str(folder) in message
    assert "the disk is full" in message
    assert [path.name for path in tmp_path.iterdir()] == (["model"] if existing else [])
    if existing:
        assert content(folder) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_while_a_json_is_written(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(saved)
    write = model_files._write_json

    def write_on(path: Path, value: Any) -> None:
        write(Path("/dev/full") if path.name == "provenance.json" else path, value)

    monkeypatch.setattr(model_files, "_write_json", write_on)
    assert "the disk is full" in sentence(lambda: save(saved, tiny_pretrained(seed=2)))
    assert content(saved) == before


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "model"):
        assert str(folder) in sentence(lambda folder=folder: save(folder, tiny_pretrained()))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert str(tmp_path) in sentence(lambda: save(tmp_path, tiny_pretrained()))
    assert content(tmp_path) == {"thesis.tex": b"mine"}


# ---------------------------------------------------------------- damage
def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert str(saved / name) in sentence(lambda: load_model(saved))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    message = sentence(lambda: load_model(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere" / "config.json") in message
    assert "missing" in message


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.th").write_bytes(b"1")
    assert "xfm convert" in sentence(lambda: load_model(tmp_path / "a.th"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0.0, 0.4, 0.99])
def test_a_truncated_file_is_named(saved: Path, name: str, keep: float) -> None:
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[: int(keep * (len(whole) - 3))])  # not only the last line's end
    assert str(saved / name) in sentence(lambda: load_model(saved))


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_place_of_a_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    (saved / name).mkdir()
    assert str(saved / name) in sentence(lambda: load_model(saved))


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("json")])
@pytest.mark.parametrize("text", ["{", "[1, 2]", "null", "\x00\xff", "[" * 100_000])
def test_invalid_json_is_named(saved: Path, name: str, text: str) -> None:
    (saved / name).write_bytes(text.encode("latin-1"))
    assert str(saved / name) in sentence(lambda: load_model(saved))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v["vision"].update(colour=3), "unknown field vision.colour"),
        (lambda v: v.update(decoder={}), "unknown field decoder"),
        (lambda v: v["vision"].update(width="32"), "vision.width cannot be '32'"),
        (lambda v: v["vision"].update(width=32.0), "vision.width cannot be 32.0"),
        (lambda v: v["language"].update(depth=True), "language.depth cannot be True"),
        (lambda v: v["vision"].update(positions="rotary"), "vision.positions cannot be 'rotary'"),
        (lambda v: v["vision"].update(patch_size=7), "patch_size must divide"),
        (lambda v: v["vision"].update(heads=0), "vision.heads is 0"),
        (lambda v: v["language"].update(vocab_size=10**13), "language.vocab_size is 1"),
        (lambda v: v["fusion"].update(depth=10**9), "fusion.depth is 1"),
        (lambda v: v["vision"].update(image_size=2048, patch_size=1), "patch_size is 2048"),
        (lambda v: v["vision"].update(mlp_ratio=float("nan")), "vision.mlp_ratio is nan"),
        (lambda v: v.update(temperature=3), "temperature must lie in"),
        (lambda v: v.update(fusion=None), "fusion must be an object"),
    ],
)
def test_a_wrong_configuration_is_named(
    saved: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    edit(saved / "config.json", change)
    message = sentence(lambda: load_model(saved))
    assert str(saved / "config.json") in message
    assert words in message


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "grey"},
        {"mean": [0.5, 0.5]},
        {"std": [0.5, "0.5", 0.5]},
        {"image_size": None},
        {"image_size": 64},
    ],
)
def test_wrong_preprocessing_is_named(saved: Path, change: dict[str, Any]) -> None:
    edit(saved / "preprocessing.json", lambda values: values.update(change))
    message = sentence(lambda: load_model(saved))
    assert str(saved / "preprocessing.json") in message
    assert next(iter(change)) in message


def test_tensors_of_other_shapes_are_named(saved: Path) -> None:
    edit(saved / "config.json", lambda values: values.update(projection=24))
    message = sentence(lambda: load_model(saved))
    assert f"{saved / 'model.safetensors'}: vision_proj.weight has shape [16, 32]" in message
    assert "[24, 32]" in message


def test_a_claimed_size_takes_no_memory(saved: Path) -> None:
    """The file's tensors are compared first: this configuration asks for 2.5 TB."""

    def claim(values: dict[str, Any]) -> None:
        values["language"].update(vocab_size=10**7, width=65_536, heads=1)

    edit(saved / "config.json", claim)
    assert "but config.json says [65536" in sentence(lambda: load_model(saved)).replace("[10000000, ", "[")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_named(saved: Path, value: float, dtype: torch.dtype) -> None:
    state = {name: t.to(dtype) for name, t in load_file(saved / "model.safetensors").items()}
    save_file(state, saved / "model.safetensors")
    load_model(saved)
    state["vision_proj.weight"][1, 2] = value
    save_file(state, saved / "model.safetensors")
    message = sentence(lambda: load_model(saved))
    assert f"{saved / 'model.safetensors'}: vision_proj.weight holds values that are infinite" in message


@pytest.mark.parametrize("depth", [1, 3])
def test_missing_and_unknown_tensors_are_named(saved: Path, depth: int) -> None:
    edit(saved / "config.json", lambda values: values["fusion"].update(depth=depth))
    message = sentence(lambda: load_model(saved))
    assert str(saved / "model.safetensors") in message
    assert f"fusion.layers.{min(depth, 2)}.attention.norm.bias" in message
    assert ("20 are unknown" if depth == 1 else "20 tensors are missing") in message


def test_the_tokenizer_of_a_larger_vocabulary_is_named(saved: Path) -> None:
    words = [f"{a}{b}{c}" for a in "abcdefg" for b in "hijklmn" for c in "opqrstu"]
    train_tokenizer(words, 500).save(saved / "tokenizer.json")
    message = sentence(lambda: load_model(saved))
    assert str(saved / "tokenizer.json") in message
