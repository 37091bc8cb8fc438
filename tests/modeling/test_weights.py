"""Reading safetensors into memory of one's own, what was made to harm, and building without memory."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from tests.modeling.build import tiny_config
from tests.refusals import expect_refusal
from xfm.config.encoders import Positions, TextPositions
from xfm.models import safetensors_header
from xfm.models.safetensors_header import tensor_shapes
from xfm.models.vision import relative_position_index, sine_positions
from xfm.models.weights import read_tensors, without_weights
from xfm.models.xfm import XFM

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.bool)


@given(
    st.dictionaries(
        st.text(st.sampled_from("abc.é"), min_size=1, max_size=6),
        st.tuples(st.lists(st.integers(0, 4), max_size=3), st.sampled_from(DTYPES)),
        max_size=6,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reads_what_safetensors_writes(
    tmp_path: Path, shapes: dict[str, tuple[list[int], torch.dtype]]
) -> None:
    stored = {name: (torch.randn(shape) * 9).to(dtype) for name, (shape, dtype) in shapes.items()}
    save_file(stored, tmp_path / "a.safetensors", metadata={"format": "pt"})
    found = read_tensors(tmp_path / "a.safetensors")
    assert found.keys() == stored.keys()
    for name, tensor in stored.items():
        assert found[name].dtype is tensor.dtype
        assert torch.equal(found[name], tensor)


def test_the_file_may_be_overwritten_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.arange(1 << 16)}, path)
    found = read_tensors(path)["a"]
    with path.open("r+b") as file:
        file.truncate(0)
    assert torch.equal(found, torch.arange(1 << 16))


def test_models_are_built_without_memory_and_take_the_tensors_as_they_are() -> None:
    config = tiny_config(positions=Positions.SINE_2D, order=TextPositions.SINE)
    whole = XFM(config)
    state = whole.state_dict()
    with without_weights():
        model = XFM(config)
    assert all(p.is_meta for p in model.parameters())
    assert torch.equal(model.vision.index, relative_position_index(config.vision.grid))
    assert model.vision.positions is not None
    assert torch.equal(model.vision.positions, sine_positions(config.vision.grid, config.vision.width))
    assert model.fusion.positions is not None
    assert whole.fusion.positions is not None
    assert torch.equal(model.fusion.positions, whole.fusion.positions)
    model.load_state_dict(state, assign=True)
    for name, tensor in model.state_dict().items():
        assert tensor.data_ptr() == state[name].data_ptr(), name
    assert all(p.requires_grad for p in model.parameters())


def test_other_threads_are_not_concerned() -> None:
    """Nor is anything after an error."""
    made: list[nn.Linear] = []
    with without_weights():
        other = threading.Thread(target=lambda: made.append(nn.Linear(2, 2)))
        other.start()
        other.join()
        own = nn.Linear(2, 2)
    assert own.weight.is_meta
    assert not made[0].weight.is_meta
    with pytest.raises(RuntimeError, match="stop"), without_weights():
        raise RuntimeError("stop")
    assert not nn.Linear(2, 2).weight.is_meta


# ---------------------------------------------------------------- hostile headers
READERS: list[Callable[[Path], object]] = [read_tensors, tensor_shapes]


@pytest.mark.parametrize("read", READERS)
def test_headers_and_files_out_of_proportion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as stream:
        stream.write((90 << 20).to_bytes(8, "little"))
        stream.truncate(100 << 20)
    with expect_refusal("a header of 94371840 bytes, over the 16777216 allowed"):
        read(path)
    save_file({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, path)
    monkeypatch.setattr(safetensors_header.os, "sysconf", lambda name: 10)
    with expect_refusal("of memory here; take a machine with more"):
        read(path)
