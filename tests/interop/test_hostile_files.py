"""Files that were made to harm: refused in a sentence, soon, and without the memory that they claim."""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from tests.failing import Trap, refusal
from tests.interop.foreign import edit_json
from tests.interop.foreign_models import write_text_model
from tests.interop.published_files import choices, tiny_file, write
from xfm.core.errors import UserError
from xfm.models.interop.compose import read_language, read_vision
from xfm.models.interop.published.convert import convert
from xfm.models.interop.sources import read_licence, read_weights
from xfm.models.library_encoders import safe_settings

Copy = Callable[[str], Path]
READERS = [read_weights, lambda path: convert(path, *choices())]


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
    assert "unpacks to more" in refusal(bomb, read, bomb)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "content", [b"\x80\x02.", b"\x80\x02]a.", b"\x80\x02K\x01h\x05.", b"PK\x03\x04nothing", b""]
)
def test_damaged_pickles(tmp_path: Path, content: bytes, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    refusal(path, read, path)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("tensor", "is_"), [(torch.ones(1).expand(1 << 40), "expanded"), (torch.eye(3).to_sparse(), "sparse")]
)
def test_tensors_that_are_not_in_the_file(
    tmp_path: Path, tensor: torch.Tensor, is_: str, read: Callable[[Path], Any]
) -> None:
    path = tmp_path / "a.bin"
    torch.save({"model": {"a.weight": tensor}}, path)
    assert re.search(f"a.weight is {is_}.*dense", refusal(path, read, path))


def test_names_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.th"
    write(path, tiny_file(path) | {("temp",): torch.ones(1)})  # type: ignore[dict-item]
    assert "a tuple as a name" in refusal(path, convert, path, *choices())


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
        assert "too large or too deep" in refusal(path, convert, path, *choices())


# ---------------------------------------------------------------- other models' folders
@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RoBERTa, a BEiT, a DistilBERT and a transformer of timm, tiny."""
    root = tmp_path_factory.mktemp("folders")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    write_text_model("roberta", root / "roberta", max_position_embeddings=66, **sizes)
    write_text_model("distilbert", root / "hf", dim=32, n_layers=2, n_heads=4, hidden_dim=64)
    args = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    for folder, name in (("timm", "vit_tiny_patch16_224"), ("beit", "beitv2_base_patch16_224")):
        trunk = timm.create_model(name, num_classes=0, **args)
        timm.models.save_for_hf(trunk, str(root / folder), model_args=args, safe_serialization=True)
    return root


@pytest.fixture
def copy(folders: Path, tmp_path: Path) -> Copy:
    """Makes a copy of one of the folders, to be changed."""
    return lambda kind: shutil.copytree(folders / kind, tmp_path / kind)


def read(folder: Path, kind: str) -> Any:
    prefix = f"{kind}:" if kind in ("timm", "hf") else ""
    return (read_vision if kind in ("beit", "timm") else read_language)(f"{prefix}{folder}")


HUGE = {"hidden_size": 65536, "num_hidden_layers": 12, "num_attention_heads": 1}


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("roberta", {"model_type": []}, "has no native encoder"),
        ("roberta", {"hidden_size": 32.0}, "width is 32.0"),
        ("roberta", {"num_attention_heads": True}, "heads is True"),
        ("roberta", {"max_position_embeddings": 66.5}, "max_positions is 66.5"),
        ("roberta", HUGE, "expected [65536]"),
        ("roberta", {"model_type": "deberta-v2"}, "through hf:NAME"),
        ("roberta", {"hidden_act": "relu"}, "hidden_act is relu"),
        ("roberta", {"hidden_size": 64}, "[32], expected [64]"),
        ("roberta", {"num_hidden_layers": 4}, "lacks the weights of layers.2"),
        ("roberta", {"num_attention_heads": 5}, "describes no text encoder"),
        ("roberta", {"pad_token_id": 0}, "pads with 1"),
        ("roberta", {"vocab_size": 100}, "config.json says 100"),
        ("beit", {"layer_norm_eps": "x"}, "no BEiT that can be loaded"),
        ("beit", {"pretrained_cfg": {"mean": 5, "std": 1}}, "three numbers"),
        ("beit", {"pretrained_cfg": {"mean": [0, 0, 0], "std": [0, 1, 1]}}, "std must be larger than 0"),
        ("beit", {"pretrained_cfg": {"mean": [0], "std": [1]}}, "three numbers"),
        ("hf", {"n_layers": 10**9}, "1000000000 layers"),
        ("hf", {"dim": "x"}, "cannot load"),
        ("hf", {"dim": 0}, "cannot load"),
        ("hf", {"model_type": "no-such-kind"}, "transformers cannot load"),
        ("timm", {"architecture": 3}, "cannot load"),
        ("timm", {"architecture": "nothing_of_the_kind"}, "timm cannot load"),
        ("timm", {"model_args": []}, "cannot load"),
        ("timm", {"model_args": {"depth": 10**9}}, "1000000000 blocks"),
        ("timm", {"model_args": {"embed_dim": 12288, "num_heads": 2}}, "no file of the folder holds so many"),
        ("timm", {"pretrained_cfg": []}, "cannot load"),
        ("timm", {"pretrained_cfg": {"input_size": [3, 32, 32], "mean": 3, "std": "x"}}, "three numbers"),
    ],
)
def test_settings_that_lie(copy: Copy, kind: str, changes: dict[str, Any], words: str) -> None:
    """transformers itself would name every model that it knows."""
    edit_json((folder := copy(kind)) / "config.json", **changes)
    with pytest.raises(UserError, match=re.escape(words)) as said:
        read(folder, kind)
    assert len(str(said.value)) < 400 + 2 * len(str(folder))


@pytest.mark.parametrize("kind", ["roberta", "beit", "hf", "timm"])
def test_whole_folders_are_read(folders: Path, kind: str) -> None:
    """The tests around this one change what can be read."""
    assert read(folders / kind, kind).encoder is not None


def storing(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    """Damage that changes the tensors of a folder."""

    def damage(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, {"format": "pt"})

    return damage


def halve(folder: Path) -> None:
    file = folder / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


DENSE, LOST = "encoder.layer.0.output.dense.weight", "transformer.layer.1.ffn.lin2.weight"
SHARED = {"rel_pos_bias.relative_position_bias_table": torch.ones(52, 2)}
FAR = torch.ones(32)
DAMAGE = {
    "blocks beyond number": ("beit", storing(lambda s: s | SHARED | {"blocks.99999.gamma_1": FAR}), "blocks"),
    "values that do not fit": ("beit", storing(lambda s: s | {"cls_token": torch.ones(3, 32)}), "cls_token"),
    "integers": ("roberta", storing(lambda s: s | {DENSE: s[DENSE].long()}), "torch.int64"),
    "no numbers": (
        "roberta",
        storing(lambda s: s | {DENSE: s[DENSE] * float("nan")}),
        "layers.0.feed_forward.fc2.weight holds values",
    ),
    "a tensor is gone": (
        "hf",
        storing(lambda s: {name: t for name, t in s.items() if name != LOST}),
        f"lacks the weights of {LOST}",
    ),
    "no weights": ("roberta", without("model.safetensors"), "holds no model"),
    "weights end early": ("roberta", halve, "model.safetensors is truncated"),
    "no settings for transformers": ("hf", without("config.json"), "transformers cannot load"),
    "no settings for timm": ("timm", without("config.json"), "timm cannot load"),
}


@pytest.mark.parametrize(("kind", "damage", "named"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_folders(copy: Copy, kind: str, damage: Callable[[Path], None], named: str) -> None:
    damage(folder := copy(kind))
    assert named in refusal(folder, read, folder, kind)


@pytest.mark.parametrize("kind", ["roberta", "beit", "hf", "timm"])
@pytest.mark.parametrize("packed", [True, False])
def test_no_code_of_a_folder_runs(tmp_path: Path, copy: Copy, kind: str, packed: bool) -> None:
    folder = copy(kind)
    (folder / "model.safetensors").unlink()
    content = {"a": Trap(os.mkdir, str(tmp_path / "marker")), "b": torch.ones(40_000)}
    torch.save(content, folder / "pytorch_model.bin", _use_new_zipfile_serialization=packed)
    said = refusal(folder, read, folder, kind)
    assert kind in ("hf", "timm") or "would run code" in said
    assert not (tmp_path / "marker").exists()


def test_an_adapter_does_not_lead_elsewhere(copy: Copy, folders: Path) -> None:
    """transformers would load the model that `base_model_name_or_path` names."""
    folder = copy("hf")
    named = {"base_model_name_or_path": str(folders / "roberta"), "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(named))
    assert "adapter" in refusal(folder, read, folder, "hf")


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
