import errno
import os
import shutil
import subprocess
import sys
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from tests.alike import thorough
from xfm.config.training import OptimConfig
from xfm.core.errors import UserError
from xfm.training.atomic_folder import damage
from xfm.training.checkpoint import (
    CheckpointState,
    checkpoint_path,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    snapshot,
    write_checkpoint,
)
from xfm.training.optim import build_optimizer
from xfm.training.randomness import random_state


class Tied(nn.Module):
    """Input and output embeddings share a matrix, and there is a buffer."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.words = nn.Embedding(7, width)
        self.out = nn.Linear(width, 7)
        self.out.weight = self.words.weight
        self.register_buffer("count", torch.zeros(()))

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        self.out(self.words(torch.arange(7))).square().sum().backward()
        self.count += 1
        optimizer.step()


def trained(steps: int = 3, fused: bool = True) -> tuple[Tied, torch.optim.Optimizer]:
    model = Tied()
    optimizer = build_optimizer(model, OptimConfig(lr=0.1))
    for group in optimizer.param_groups:
        group |= {"fused": fused, "foreach": not fused}
    for _ in range(steps):
        model.step(optimizer)
    return model, optimizer


def save(folder, step: int = 1, model: nn.Module | None = None, optimizer=None):
    if model is None or optimizer is None:
        model, optimizer = trained()
    path = checkpoint_path(folder, step)
    state = random_state(torch.Generator().manual_seed(0))
    write_checkpoint(path, snapshot(model, optimizer), [state], CheckpointState(step, {"lr": 0.1}))
    return path


@pytest.mark.parametrize("fused", [True, False])
def test_round_trip_continues_identically(tmp_path, fused):
    model, optimizer = trained(3, fused)
    path = save(tmp_path, 3, model, optimizer)
    other, other_optimizer = trained(0, fused)
    assert {p.suffix for p in path.iterdir()} == {".safetensors", ".json"}  # no pickle
    state, randomness = load_checkpoint(path, other, other_optimizer)
    assert (state.step, dict(state.settings)) == (3, {"lr": 0.1})
    assert randomness is not None
    model.step(optimizer)
    other.step(other_optimizer)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert other.out.weight is other.words.weight


@pytest.mark.parametrize(
    ("name", "how"), [("model.safetensors", "flip"), ("state.json", "truncate"), ("manifest.json", "delete")]
)
def test_damage_is_noticed(tmp_path, name, how):
    model, optimizer = trained()
    good, bad = save(tmp_path, 1, model, optimizer), save(tmp_path, 2, model, optimizer)
    file = bad / name
    data = bytearray(file.read_bytes())
    if how == "delete":
        file.unlink()
    else:
        data[len(data) // 2] ^= 0xFF
        file.write_bytes(data[: len(data) // 2] if how == "truncate" else data)
    found, notes = latest_checkpoint(tmp_path)
    assert found == good
    assert len(notes) == 1
    assert name in notes[0]
    with pytest.raises(UserError) as caught:
        load_checkpoint(bad, model, optimizer)
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pruning_keeps_the_newest(tmp_path):
    for step in (1, 20, 3):
        save(tmp_path, step)
    (tmp_path / "checkpoints" / "notes").mkdir()
    prune_checkpoints(tmp_path, 2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000003", "step-00000020"]
    prune_checkpoints(tmp_path, 0)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000020"]


@thorough
def test_a_kill_while_pruning_leaves_no_half_checkpoint(tmp_path):
    """A process ends as it deletes: what has its name is whole, and the rest is cleared away."""
    for step in (1, 2):
        save(tmp_path, step)
    program = (
        "import os, sys; from pathlib import Path; from xfm.training.checkpoint import prune_checkpoints\n"
        "sys.addaudithook(lambda event, args: event == 'os.remove' and os._exit(9))\n"
        f"prune_checkpoints(Path({str(tmp_path)!r}), 1)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert [damage(path) for path in list_checkpoints(tmp_path)] == [None]
    assert len([*(tmp_path / "checkpoints").iterdir()]) == 2
    prune_checkpoints(tmp_path, 1)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]


@pytest.mark.parametrize("when", ["before", "while writing", "while syncing", "at the rename"])
def test_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch, when):
    previous = save(tmp_path, 1)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    in_rust = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    usage = shutil.disk_usage(tmp_path)
    place, answer = {
        "before": ("shutil.disk_usage", {"return_value": usage._replace(free=10)}),
        "while writing": ("xfm.models.weights.save_file", {"side_effect": in_rust}),
        "while syncing": ("os.fsync", {"side_effect": full}),
        "at the rename": ("os.replace", {"side_effect": full}),
    }[when]
    monkeypatch.setattr(place, Mock(**answer))
    with pytest.raises(UserError, match=r"step-00000002: the disk is full.*--resume"):
        save(tmp_path, 2)
    assert list_checkpoints(tmp_path) == [previous]
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == [previous.name]
    assert damage(previous) is None
