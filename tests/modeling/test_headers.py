"""Safetensors files that were made to harm: refused by their first bytes, in a sentence."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.refusals import expect_refusal
from xfm.info import parameter_counts
from xfm.modeling import headers
from xfm.modeling.headers import tensor_shapes
from xfm.modeling.weights import read_tensors
from xfm.training.checkpoint import load_weights

READERS: list[Callable[[Path], object]] = [
    read_tensors,
    tensor_shapes,
    parameter_counts,
    lambda path: load_weights(path, torch.nn.Linear(2, 2)),
]


def packed(header: object, length: int | None = None, tail: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + tail


def entry(begin: int, end: int, shape: list[int]) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


BAD = {
    "length-of-2-to-63": packed(b"{}", 1 << 63),
    "longer-than-the-file": packed(b"{}", 5000),
    "seven-bytes": b"\0" * 7,
    "overlapping": packed({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, tail=b"\0" * 12),
    "beyond-the-end": packed({"a": entry(0, 800, [200])}, tail=b"\0" * 8),
    "product-overflows": packed({"a": entry(0, 8, [1 << 32, 1 << 32])}, tail=b"\0" * 8),
    "negative": packed({"a": entry(0, 8, [-2])}, tail=b"\0" * 8),
    "no-object": packed([1, 2]),
    "deep": packed(b"[" * 100_000 + b"]" * 100_000),
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_bad_headers_are_sentences(tmp_path: Path, content: bytes, read: Callable[[Path], object]) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with expect_refusal(str(path)):
        read(path)


@pytest.mark.parametrize("read", READERS)
def test_a_pipe_in_place_of_weights_does_not_wait(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "model.safetensors"
    os.mkfifo(path)
    with expect_refusal("model.safetensors cannot be read", "a pipe or a device"):
        read(path)


@pytest.mark.parametrize("read", READERS)
def test_headers_and_files_out_of_proportion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as stream:
        stream.write((90 << 20).to_bytes(8, "little"))
        stream.truncate(100 << 20)
    with expect_refusal("a header of 94371840 bytes, more than the limit"):
        read(path)
    save_file({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, path)
    monkeypatch.setattr(headers.os, "sysconf", lambda name: 10)
    with expect_refusal("of memory here; take a machine with more"):
        read(path)
