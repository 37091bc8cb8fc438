"""A step makes the host wait for the device once, where it must know whether the step is bad.

On a CPU nothing waits, so the calls are counted that would on a GPU, on the ways that a GPU takes. With a GPU
torch itself says where it waits.
"""

import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.corpus import tiny_recipe, write_corpus
from xfm.models import fusion, language, shared_kv
from xfm.training.callbacks import StepOutput
from xfm.training.pretrain import pretrain
from xfm.training.trainer import Trainer

ASKING = {
    *("item", "tolist", "cpu", "numpy", "nonzero", "argwhere", "is_nonzero", "equal", "unique", "allclose"),
    *("__bool__", "__float__", "__int__", "__index__", "__contains__", "masked_select", "bincount"),
}
"""Functions of torch that give numbers to the host, or a tensor whose size it must know."""
OPERATORS = {"_local_scalar_dense", "nonzero", "_unique2", "masked_select", "equal", "bincount"}


class Calls(TorchFunctionMode):
    """Notes the calls of Python that would wait."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        masked = name in ("__getitem__", "__setitem__") and any(
            isinstance(one, torch.Tensor) and one.dtype == torch.bool
            for one in (args[1] if isinstance(args[1], tuple) else (args[1],))
        )
        if name in ASKING or masked:
            self._found.append(f"{name} at {place()}")
        return func(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    """Notes the operators that would wait, wherever they are called from."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in OPERATORS:
            self._found.append(f"{func} at {place()}")
        return func(*args, **(kwargs or {}))


def place() -> str:
    """The line of the package that asks."""
    frames = traceback.extract_stack()
    own = [frame for frame in frames if "/src/xfm/" in frame.filename] or frames
    return f"{own[-1].filename.rpartition('/src/')[2]}:{own[-1].name}"


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """What each step asks for, of Python and of operators, while steps take the ways of a GPU."""
    steps: list[tuple[list[str], list[str]]] = []
    train_step = Trainer.train_step

    def watching(self: Trainer[Any], *words: Any) -> StepOutput:
        steps.append(([], []))
        calls, operators = steps[-1]
        with Calls(calls), Operators(operators):
            return train_step(self, *words)

    monkeypatch.setattr(Trainer, "train_step", watching)
    for module in (language, fusion):
        monkeypatch.setattr(module, "leaves_padding_out", lambda mask, needed: False)
    monkeypatch.setattr(fusion, "remember", shared_kv.joined)
    return steps


@pytest.mark.parametrize("sequential_sources", [False, True])
def test_a_step_asks_once(tmp_path, watched, sequential_sources):
    """In phases of text alone and of everything, with an average of the weights."""
    recipe = tiny_recipe(
        write_corpus(tmp_path / "corpus"), 6, ema=0.9, log_every=3, sequential_sources=sequential_sources
    )
    pretrain(recipe, tmp_path / "run", progress=False)
    assert len(watched) == 6
    for calls, operators in watched:
        assert calls == ["tolist at xfm/training/trainer.py:_ends"]
        assert operators == []  # a list is made of the memory of a CPU, without an operator


def test_what_waits_is_found() -> None:
    calls, operators = list[str](), list[str]()
    with Calls(calls), Operators(operators):
        numbers = torch.arange(4)
        _ = numbers[numbers > 1], bool(numbers.any()), int(numbers.max()), numbers.nonzero()
    assert len(calls) == 4
    assert len(operators) >= 3


@pytest.mark.gpu
def test_a_gpu_waits_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first steps of each phase, in which kernels are chosen."""
    waits: list[int] = []
    train_step = Trainer.train_step

    def watching(self: Trainer[Any], *words: Any) -> StepOutput:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                output = train_step(self, *words)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("synchronizing" in str(one.message) for one in found))
        return output

    monkeypatch.setattr(Trainer, "train_step", watching)
    pretrain(tiny_recipe(write_corpus(tmp_path / "corpus"), 12), tmp_path / "run", progress=False)
    assert [waits[step] for step in (3, 6, 9, 11)] == [1, 1, 1, 1]
