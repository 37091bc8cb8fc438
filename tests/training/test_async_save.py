"""Checkpoints that are written while training goes on."""

import errno
import os
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.support import (
    AfterUpdate,
    Line,
    assert_same_checkpoints,
    config,
    numbers,
    run_line,
    run_model,
)
from xfm.core.errors import UserError
from xfm.training import run_folder
from xfm.training.atomic_folder import damage
from xfm.training.checkpoint import HostCopies, list_checkpoints


# ------------------------------------------------------------------ copies
@given(st.lists(st.sampled_from([torch.float32, torch.bfloat16, torch.int64]), min_size=1), st.integers(0, 9))
def test_copies_are_of_the_moment(dtypes, seed):
    generator = torch.Generator().manual_seed(seed)
    copies = HostCopies()
    for turn in range(2):
        own = {str(n): (torch.randn(3, n + 1, generator=generator) * 9).to(t) for n, t in enumerate(dtypes)}
        before = {name: tensor.clone() for name, tensor in own.items()}
        held = {name: copies.keep(name, tensor.t()) for name, tensor in own.items()}
        copies.finish()
        places = {name: tensor.data_ptr() for name, tensor in held.items()}
        for tensor in own.values():
            tensor.fill_(turn)
        assert all(torch.equal(held[name], before[name].t()) for name in own)
    again = {name: copies.keep(name, tensor.t()).data_ptr() for name, tensor in own.items()}
    assert again == places


# ------------------------------------------------------------------ the loop
def slow(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.3) -> list[int]:
    """Let every checkpoint take a while; gives how many threads write at each begin."""
    real, under_way, seen = run_folder.write_checkpoint, [], []

    def write(*words: object) -> None:
        under_way.append(1)
        seen.append(len(under_way))
        time.sleep(seconds)
        real(*words)  # type: ignore[arg-type]
        under_way.pop()

    monkeypatch.setattr(run_folder, "write_checkpoint", write)
    return seen


def test_the_same_checkpoints_as_without(tmp_path, monkeypatch):
    """A model with dropout, written slowly while its weights go on: to the last byte what a pause gives."""
    run_model(tmp_path / "paused", config(9, save_every=3, keep=9))
    seen = slow(monkeypatch)
    run_model(tmp_path / "beside", config(9, save_every=3, keep=9, save_async=True))
    assert_same_checkpoints(tmp_path / "beside", tmp_path / "paused", 3)
    assert seen == [1, 1, 1]


def test_training_goes_on_meanwhile(tmp_path, monkeypatch):
    """Many steps are done while a checkpoint is written, and the next one waits for it."""
    steps: list[float] = []
    slow(monkeypatch, 1.0)
    training = config(60, save_every=50, save_async=True)
    run_line(tmp_path, training, callbacks=[AfterUpdate(lambda: steps.append(time.perf_counter()))])
    assert steps[-1] - steps[49] < 0.9
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000050", "step-00000060"]


@pytest.mark.parametrize("last", [True, False])
def test_an_error_of_the_writer_is_the_run_s(tmp_path, monkeypatch, last):
    """At the next step, or at the end where there is none; what was saved before stays."""
    real, steps = os.replace, list[int]()

    def full(source: Path, target: Path) -> None:
        if "step-00000006" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    training = config(6 if last else 1000, save_every=3, save_async=True)
    with pytest.raises(UserError, match=r"step-00000006: the disk is full.*--resume"):
        run_line(tmp_path, training, callbacks=[AfterUpdate(lambda: (steps.append(1), time.sleep(0.01)))])
    assert len(steps) == 6 if last else 6 <= len(steps) < 500
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


def test_whatever_ends_a_run_nothing_is_half_written(tmp_path, monkeypatch):
    slow(monkeypatch)

    def broken(start: int, stop: int):
        for number, batch in enumerate(numbers(start, stop), start):
            if number == 4:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        run_line(tmp_path, config(9, save_every=3, save_async=True), batches=broken)
    (path,) = (tmp_path / "checkpoints").iterdir()
    assert damage(path) is None
    model = Line()
    run_line(tmp_path, config(9, save_every=3, save_async=True), model, resume=True)
    other = Line()
    run_line(None, config(9), other)
    assert torch.equal(model.layer.weight, other.layer.weight)
