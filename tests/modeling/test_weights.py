"""Reading safetensors into memory of one's own, and building modules without memory."""

import threading
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from tests.failing import refusal, sentence_of
from tests.modeling.build import tiny_config
from xfm.config.model import Positions
from xfm.modeling.vision import relative_position_index, sine_positions
from xfm.modeling.weights import read_tensors, without_weights
from xfm.modeling.xfm import XFM

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


@given(st.integers(0, 400), st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_a_sentence(tmp_path: Path, place: int, cut: bool) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"weight": torch.ones(3, 4), "bias": torch.ones(4)}, path)
    content = bytearray(path.read_bytes())
    place %= len(content)
    if cut:
        path.write_bytes(content[:place])
        refusal(path, read_tensors, path)
        return
    content[place] ^= 0x55
    path.write_bytes(content)
    assert "\n" not in (sentence_of(read_tensors, path) or "")  # changed numbers cannot be told


def test_models_are_built_without_memory_and_take_the_tensors_as_they_are() -> None:
    config = tiny_config(positions=Positions.SINE_2D)
    torch.manual_seed(0)
    state = XFM(config).state_dict()
    with without_weights():
        model = XFM(config)
    assert all(p.is_meta for p in model.parameters())
    assert torch.equal(model.vision.index, relative_position_index(config.vision.grid))
    assert model.vision.positions is not None
    assert torch.equal(model.vision.positions, sine_positions(config.vision.grid, config.vision.width))
    model.load_state_dict(state, assign=True)
    assert {n: t.data_ptr() for n, t in model.state_dict().items()} == {
        n: t.data_ptr() for n, t in state.items()
    }
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
