"""What `xfm info` says about files that are torn or hold something else."""

import struct
from pathlib import Path

import pytest

from xfm.cli.describe import describe
from xfm.core.errors import UserError


def test_a_torn_log(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1, "loss": 2}\n{"step": 1, "event": "resumed"}\n[3]\n{"step": 2, "lo')
    assert "last logged:\n  step: 1\n  loss: 2" in describe(str(tmp_path))
    log.write_bytes(b'\xff\xfe\n{"st')
    assert "last logged" not in describe(str(tmp_path))


@pytest.mark.parametrize("name", ["state.json", "config.json", "provenance.json"])
@pytest.mark.parametrize("text", ["[1]", "3", "{", "[" * 50_000])
def test_json_of_another_type_is_named(tmp_path: Path, name: str, text: str) -> None:
    beside = ["config.json"] if name == "provenance.json" else []
    for file in ("provenance.json", "model.safetensors", *beside):
        (tmp_path / file).write_bytes(struct.pack("<Q", 2) + b"{}" if file.endswith("s") else b"{}")
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=rf"{name} (is not valid JSON|must hold a JSON object)"):
        describe(str(tmp_path))


def test_folders_of_something_else_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no model folder"):
        describe(str(tmp_path))
    for name in ("config.json", "provenance.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match="not a safetensors file"):
        describe(str(tmp_path))


def test_a_file_does_not_hide_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").write_text("")
    monkeypatch.chdir(tmp_path)
    assert "name: base" in describe("base")
