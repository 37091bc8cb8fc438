"""Files that were made to harm: refused in a sentence, soon, and without the memory that they claim."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BeitConfig,
    BeitModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

from tests.interop.foreign import edit_json, write_byte_level, write_word_piece
from tests.interop.published_files import choices, tiny_file, write
from xfm.errors import UserError
from xfm.interop.compose import read_language, read_vision
from xfm.interop.published.convert import convert
from xfm.interop.sources import read_licence, read_weights
from xfm.modeling.transformers_text import safe_settings


def refusal(path: Path, call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as found:
        call()
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)
    return str(found.value)


READERS = [read_weights, lambda path: convert(path, choices())]


# ---------------------------------------------------------------- pickled weights
@pytest.mark.parametrize("read", READERS)
def test_what_unpacks_to_more_is_refused(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    state = tiny_file(tmp_path / "a.th")
    whole, bomb = tmp_path / "a.th", tmp_path / "bomb.th"
    write(whole, state | {"text_encoder.lm_cap_head.bias": torch.zeros(1_000_000)})
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    assert bomb.stat().st_size < whole.stat().st_size / 10
    assert "unpacks to more" in refusal(bomb, lambda: read(bomb))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "content", [b"\x80\x02.", b"\x80\x02]a.", b"\x80\x02K\x01h\x05.", b"PK\x03\x04nothing", b""]
)
def test_damaged_pickles(tmp_path: Path, content: bytes, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    refusal(path, lambda: read(path))


@pytest.mark.parametrize(
    "tensor", [torch.ones(1, dtype=torch.float16).expand(1 << 40), torch.eye(3).to_sparse()]
)
def test_tensors_that_are_not_in_the_file(tmp_path: Path, tensor: torch.Tensor) -> None:
    path = tmp_path / "a.bin"
    torch.save({"embeddings.weight": tensor}, path)
    assert "save a dense tensor" in refusal(path, lambda: read_weights(path))


def test_names_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.th"
    write(path, tiny_file(path) | {("temp",): torch.ones(1)})  # type: ignore[dict-item]
    assert "a tuple as a name" in refusal(path, lambda: convert(path, choices()))


def shared(levels: int) -> list[Any]:
    """A list of ten times one list of ten times one list, ..."""
    value: list[Any] = ["x"]
    for _ in range(levels):
        value = [value] * 10
    return value


def test_settings_that_never_end(tmp_path: Path) -> None:
    """A few bytes stand for 10^12 settings, or for lists in lists without end."""
    path, own = tmp_path / "a.th", []
    own.append(own)
    state = tiny_file(path)
    for config in ({"a": shared(12)}, {"a": own}):
        write(path, state, config)
        assert "too large or too deep" in refusal(path, lambda: convert(path, choices()))


# ---------------------------------------------------------------- other models' folders
@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RoBERTa, a BEiT, a DistilBERT and a transformer of timm, tiny."""
    root = tmp_path_factory.mktemp("folders")
    vocabulary = len(json.loads((write_byte_level(root / "roberta") / "vocab.json").read_text()))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    roberta = RobertaConfig(vocab_size=vocabulary, max_position_embeddings=66, **sizes)
    RobertaModel(roberta).save_pretrained(root / "roberta")
    beit = BeitConfig(image_size=32, patch_size=8, use_relative_position_bias=True, **sizes)
    BeitModel(beit).save_pretrained(root / "beit")
    pieces = (write_word_piece(root / "hf") / "vocab.txt").read_text().splitlines()
    small = DistilBertConfig(vocab_size=len(pieces), dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    DistilBertModel(small).save_pretrained(root / "hf")
    args = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    trunk = timm.create_model("vit_tiny_patch16_224", num_classes=0, **args)
    timm.models.save_for_hf(trunk, str(root / "timm"), model_args=args, safe_serialization=True)
    return root


def read(folder: Path, kind: str) -> Any:
    match kind:
        case "beit":
            return read_vision(str(folder))
        case "timm":
            return read_vision(f"timm:{folder}")
        case "hf":
            return read_language(f"hf:{folder}")
        case _:
            return read_language(str(folder))


HUGE = {"hidden_size": 65536, "num_hidden_layers": 12, "num_attention_heads": 1}


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("roberta", {"model_type": []}, "has no native encoder"),
        ("roberta", {"hidden_size": 32.0}, "width cannot be 32.0"),
        ("roberta", {"num_attention_heads": True}, "heads cannot be True"),
        ("roberta", {"max_position_embeddings": 66.5}, "max_positions cannot be 66.5"),
        ("roberta", HUGE, "expected [65536]"),
        ("beit", {"layer_norm_eps": "x"}, "no BEiT that can be loaded"),
        ("beit", {"mean": 5, "std": 1}, "three numbers"),
        ("beit", {"pretrained_cfg": {"mean": [0, 0, 0], "std": [0, 1, 1]}}, "std must be larger than 0"),
        ("beit", {"pretrained_cfg": {"mean": [0], "std": [1]}}, "three numbers"),
        ("hf", {"n_layers": 10**9}, "1000000000 layers"),
        ("hf", {"dim": "x"}, "cannot load"),
        ("hf", {"dim": 0}, "cannot load"),
        ("timm", {"architecture": 3}, "cannot load"),
        ("timm", {"model_args": []}, "cannot load"),
        ("timm", {"model_args": {"depth": 10**9}}, "1000000000 blocks"),
        ("timm", {"model_args": {"embed_dim": 12288, "num_heads": 2}}, "no file of the folder holds so many"),
        ("timm", {"pretrained_cfg": []}, "cannot load"),
        ("timm", {"pretrained_cfg": {"input_size": [3, 32, 32], "mean": 3, "std": "x"}}, "three numbers"),
    ],
)
def test_settings_that_lie(
    tmp_path: Path, folders: Path, kind: str, changes: dict[str, Any], words: str
) -> None:
    shutil.copytree(folders / kind, folder := tmp_path / kind)
    edit_json(folder / "config.json", **changes)
    with pytest.raises(UserError) as found:
        read(folder, kind)
    assert words in str(found.value)


@pytest.mark.parametrize("kind", ["roberta", "beit", "hf", "timm"])
def test_whole_folders_are_read(folders: Path, kind: str) -> None:
    """The tests around this one change what can be read."""
    assert read(folders / kind, kind).encoder is not None


@pytest.mark.parametrize("name", ["encoder.layer.9999999.layernorm_before.weight", "blocks.99999.gamma_1"])
def test_blocks_beyond_number(tmp_path: Path, folders: Path, name: str) -> None:
    shutil.copytree(folders / "beit", folder := tmp_path / "beit")
    stored = load_file(folder / "model.safetensors")
    shared = "encoder.relative_position_bias.relative_position_bias_table"
    save_file({**stored, name: torch.ones(32), shared: torch.ones(52, 4)}, folder / "model.safetensors")
    assert "blocks" in refusal(folder, lambda: read(folder, "beit"))


def test_integers_are_no_weights(tmp_path: Path, folders: Path) -> None:
    shutil.copytree(folders / "roberta", folder := tmp_path / "roberta")
    stored = load_file(folder / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    save_file({**stored, name: stored[name].long()}, folder / "model.safetensors")
    assert "torch.int64" in refusal(folder, lambda: read(folder, "roberta"))


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("kind", ["roberta", "beit", "hf", "timm"])
@pytest.mark.parametrize("packed", [True, False])
def test_no_code_of_a_folder_runs(tmp_path: Path, folders: Path, kind: str, packed: bool) -> None:
    shutil.copytree(folders / kind, folder := tmp_path / kind)
    (folder / "model.safetensors").unlink()
    content = {"a": Trap(tmp_path / "marker"), "b": torch.ones(40_000)}
    torch.save(content, folder / "pytorch_model.bin", _use_new_zipfile_serialization=packed)
    assert str(folder) in refusal(folder, lambda: read(folder, kind))
    assert not (tmp_path / "marker").exists()


def test_an_adapter_does_not_lead_elsewhere(tmp_path: Path, folders: Path) -> None:
    """transformers would load the model that `base_model_name_or_path` names."""
    shutil.copytree(folders / "hf", folder := tmp_path / "hf")
    named = {"base_model_name_or_path": str(folders / "roberta"), "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(named))
    assert "adapter" in refusal(folder, lambda: read(folder, "hf"))


def test_attention_of_the_hub_is_never_asked_for() -> None:
    part = {"attn_implementation": "owner/kernel", "hidden_size": 8, "auto_map": {"AutoModel": "code.X"}}
    assert safe_settings({"text_config": part, **part}) == {
        "text_config": {"hidden_size": 8},
        "hidden_size": 8,
    }


# ---------------------------------------------------------------- model cards
@pytest.mark.parametrize(
    ("header", "licence"),
    [
        ("license: mit", "mit"),
        ("license: [mit, apache-2.0]", "mit, apache-2.0"),
        ("license: other\nlicense_name: dinov3-license", "dinov3-license"),
        ("license: 2001-99-99", None),
        ("license: {a: 1}", None),
        ("license: " + "[" * 1200, None),
        ("a: &a [x, x]\nb: &b [*a, *a]\nlicense: *b", None),
    ],
)
def test_licences_of_cards(tmp_path: Path, header: str, licence: str | None) -> None:
    (tmp_path / "README.md").write_text(f"---\n{header}\n---\n")
    assert read_licence(tmp_path) == licence


def test_messages_of_others_are_short(tmp_path: Path, folders: Path) -> None:
    """transformers names every model that it knows."""
    shutil.copytree(folders / "hf", folder := tmp_path / "hf")
    edit_json(folder / "config.json", model_type="nothing")
    assert len(refusal(folder, lambda: read(folder, "hf"))) < 300 + 2 * len(str(folder))
