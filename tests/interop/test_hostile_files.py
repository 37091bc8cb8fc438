"""Files that are wrong or made to harm: refused in a sentence, soon, and nothing in them is executed."""

import json
import os
import pickle
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.alike import THOROUGH
from tests.failing import Trap, refusal, sentence_of
from tests.interop.foreign_models import write_text_model
from tests.interop.published_files import KINDS, choices, tiny_file, write
from tests.modeling.build import tiny_config
from xfm.models.interop.loading import read_language, read_vision
from xfm.models.interop.published.convert import convert
from xfm.models.interop.published.names import spare
from xfm.models.interop.sources import read_weights

FUZZ = settings(
    max_examples=40 if THOROUGH else 10,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SHARE = st.floats(0, 1) | st.just(1.0)


def sentence(path: Path, kind: str | None = None) -> str:
    """What converting a file is refused with."""
    message = refusal(path, convert, path, *choices(kind))
    assert len(message) < 400
    return message


# ---------------------------------------------------------------- code in the file
def trap(marker: Path, number: int) -> Trap:
    calls = ((open, str(marker), "w"), (eval, f"open({str(marker)!r}, 'w')"), (os.system, f"touch {marker}"))
    return Trap(*(*calls, (Path.touch, marker), (subprocess.run, ["touch", str(marker)]))[number])


@given(
    number=st.integers(0, 4),
    place=st.sampled_from(["whole", "model", "tensor", "config", "deep"]),
    form=st.sampled_from(["zip", "legacy", "pickle"]),
)
@FUZZ
def test_code_is_not_run(tmp_path: Path, number: int, place: str, form: str) -> None:
    marker, file = tmp_path / "marker", tmp_path / "trap.th"
    evil = trap(marker, number)
    content = {
        "whole": evil,
        "model": {"model": evil, "config": {}},
        "tensor": {"model": {"temp": evil}, "config": {}},
        "config": {"model": {"temp": torch.ones(())}, "config": evil},
        "deep": {"model": {"temp": torch.ones(())}, "config": {"a": [{"b": (1, evil)}]}},
    }[place]
    if form == "pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    message = sentence(file)
    assert not marker.exists()
    assert "would run code" in message


def test_the_trap_is_a_trap(tmp_path: Path) -> None:
    """The test above would notice."""
    for number in range(5):
        marker = tmp_path / f"marker-{number}"
        pickle.loads(pickle.dumps(trap(marker, number)))
        assert marker.exists()


# ---------------------------------------------------------------- damage
@given(
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=6),
    kept=SHARE,
    pickled=...,
)
@FUZZ
def test_damaged_bytes(tmp_path: Path, places: list[tuple[float, int]], kept: float, pickled: bool) -> None:
    """Changed weights cannot be told; everything else is refused in a sentence."""
    tiny_file(tmp_path / "a.th")
    content = bytearray((tmp_path / "a.th").read_bytes())
    if pickled:  # the pickle itself, not the weights
        begin = content.index(b"data.pkl")
        places = [(begin / len(content) + share * 0.02, value) for share, value in places]
    for share, value in places:
        content[min(int(share * len(content)), len(content) - 1)] ^= value
    (tmp_path / "a.th").write_bytes(content[: int(kept * len(content))])
    assert "\n" not in (sentence_of(convert, tmp_path / "a.th", *choices()) or "")


# ---------------------------------------------------------------- keys and shapes
def ending_with(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[-1] = value
    return tensor


CHANGES: dict[str, Callable[[str, torch.Tensor], dict[str, torch.Tensor]]] = {
    "drop": lambda name, t: {},
    "rename": lambda name, t: {f"{name}_": t},
    "grow": lambda name, t: {name: torch.cat([t.reshape(-1), torch.ones(1)])},
    "shrink": lambda name, t: {name: t.reshape(-1)[:-1]},
    "rank": lambda name, t: {name: t[None]},
    "transpose": lambda name, t: {name: t.reshape(*t.shape[::-1]) if t.ndim > 1 else t[:, None]},
    "integer": lambda name, t: {name: torch.ones_like(t, dtype=torch.int64)},
    "double key": lambda name, t: {name: t, f"module.{name}": t},
    "nan": lambda name, t: {name: ending_with(t, float("nan"))},
    "infinite": lambda name, t: {name: ending_with(t, float("-inf"))},
}


@given(kind=st.sampled_from(KINDS), data=st.data(), change=st.sampled_from([*CHANGES]))
@FUZZ
def test_a_wrong_tensor(tmp_path: Path, kind: str | None, data: st.DataObject, change: str) -> None:
    """Every single tensor matters: without it, or with it in another form, the file is refused."""
    state = tiny_file(tmp_path / "a.th", kind)
    _, constants, _ = spare(tiny_config())
    left_out = {n for n in state if "lm_head.decoder." in n} | {n for n in state if n in constants}
    left_out |= {n for n in state if n.endswith("position_ids")}
    name = data.draw(st.sampled_from(sorted(state.keys() - left_out)))
    tensor = state.pop(name)
    same = {"transpose": tensor.shape == tensor.shape[::-1], "shrink": tensor.ndim == 0}
    write(tmp_path / "a.th", state | CHANGES["drop" if same.get(change) else change](name, tensor))
    sentence(tmp_path / "a.th", kind)


Copy = Callable[[str], Path]
READERS = [read_weights, lambda path: convert(path, *choices())]


# ---------------------------------------------------------------- pickled weights
def test_what_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    state = tiny_file(tmp_path / "a.th")
    whole, bomb = tmp_path / "a.th", tmp_path / "bomb.th"
    write(whole, state | {"text_encoder.lm_cap_head.bias": torch.zeros(1_000_000)})
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    assert bomb.stat().st_size < whole.stat().st_size / 10
    for read in READERS:
        assert "unpacks to more" in refusal(bomb, read, bomb)


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


@pytest.mark.parametrize(
    ("kind", "packed"), [("roberta", False), ("beit", True), ("hf", True), ("timm", True)]
)
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
