"""Files that were made to harm: refused in a sentence, soon, and without the memory that they claim."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.interop.published_files import choices, tiny_file, write
from xfm.errors import UserError
from xfm.interop.published.convert import convert
from xfm.interop.sources import read_weights


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
