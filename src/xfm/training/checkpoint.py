"""Checkpoints: what a run needs to continue exactly, in files without pickles.

checkpoints/step-00001000/
  model.safetensors        parameters and buffers by name
  optimizer.safetensors    the optimiser's moments by parameter name
  average.safetensors      the moving average of the weights, if the run keeps one
  random-00000.safetensors random states, and what the losses remember, one file a process
  state.json               step, settings, versions
  config.json, ...         what else a model folder has, if the run gives it: then this is one, too
  manifest.json            checksums
"""

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.plain import to_plain
from xfm.config.training import Precision
from xfm.config.typed import build
from xfm.core.errors import UserError
from xfm.core.files import clear_leftovers, delete_folder, folder_size, read_json_object, read_json_or_nothing
from xfm.models.weights import read_tensors, write_tensors
from xfm.training.atomic_folder import MANIFEST, damage, write_folder
from xfm.training.distributed import fill, part_like, whole
from xfm.training.optim import EMA

MODEL, OPTIMIZER, AVERAGE = "model.safetensors", "optimizer.safetensors", "average.safetensors"
Snapshot = Mapping[str, Mapping[str, Tensor]]
"""Whole tensors of a checkpoint by file and name."""


def unique_state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; one that is shared appears under its first name only."""
    first: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        first.setdefault(id(tensor), (name, tensor))
    return dict(first.values())


def snapshot(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    kept: bool = True,
    average: EMA | None = None,
) -> Snapshot:
    """The tensors of a checkpoint of a bare model. Of a sharded model all processes must ask; those that do
    not keep them help to gather and get none. Gathered tensors alone are copies."""
    moments = {
        f"{name}|{key}": value
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    parts = {MODEL: unique_state(model), OPTIMIZER: moments}
    if average is not None:
        parts[AVERAGE] = average.state_dict()
    found: dict[str, dict[str, Tensor]] = {file: {} for file in parts}
    for file, named in parts.items():
        for name, tensor in named.items():
            full = whole(tensor)
            if kept:
                found[file][name] = full if full is tensor else full.cpu()
    return found


FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")
REQUIRED = frozenset({MODEL, OPTIMIZER, "state.json"})


@dataclass(frozen=True)
class CheckpointState:
    """Content of `state.json`. `precision` is decided: a resumed run must not measure again. `data` has a
    digest for each file, `changes` sentences about what was otherwise when the run was resumed."""

    step: int
    settings: Mapping[str, Any]
    world: int = 1
    precision: Precision = Precision.FP32
    data: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    samples: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Folder of the checkpoint of a step inside a run folder."""
    return folder / "checkpoints" / f"step-{step:08d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run folder, oldest first; whether they are whole is not looked at."""
    found = [p for p in (folder / "checkpoints").glob("step-*") if _NAME.fullmatch(p.name) and p.is_dir()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("step-")))


def latest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and a sentence for each damaged one passed over; UserError if all are
    damaged."""
    notes: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        reason = damage(path, REQUIRED)
        if reason is None:
            return path, notes
        notes.append(f"{path} cannot be used: {reason}")
    if notes:
        raise UserError(
            f"{'; '.join(notes)}; no checkpoint is left to resume from: restore one from a copy, or "
            f"delete {folder} and start again"
        )
    return None, notes


def write_checkpoint(
    path: Path,
    tensors: Snapshot,
    random_states: list[dict[str, Tensor]],
    state: CheckpointState,
    describe: Callable[[Path], None] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all, for any number of processes and any strategy; `random_states`
    by rank. UserError: the disk is full."""
    payload = {"format": FORMAT, "torch": torch.__version__, **to_plain(state)}
    files = {**tensors, **{_random_file(rank): own for rank, own in enumerate(random_states)}}

    def write(folder: Path) -> None:
        for name, named in files.items():
            write_tensors(folder / name, named)
        (folder / "state.json").write_text(json.dumps(payload, indent=1), encoding="utf-8")
        if describe is not None:
            describe(folder)

    write_folder(path, write, sum(tensor.nbytes for named in files.values() for tensor in named.values()))


def _random_file(rank: int) -> str:
    return f"random-{rank:05d}.safetensors"


def prune_checkpoints(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints of a run folder (at least one stays), and drafts."""
    if (folder / "checkpoints").is_dir():
        clear_leftovers(folder / "checkpoints", _NAME.pattern)
    for path in list_checkpoints(folder)[: -max(1, keep)]:
        delete_folder(path)


def read_state(path: Path) -> CheckpointState:
    """Step and settings of a checkpoint; UserError if it is none, or of a newer format."""
    try:
        payload = read_json_object(path / "state.json")
        is_newer = int(payload.pop("format")) > FORMAT
        payload.pop("torch", None)
        state = None if is_newer else build(CheckpointState, payload)
    except (UserError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise UserError(
            f"{path} is not a checkpoint of xfm: its state.json is missing or unreadable; name a folder "
            "such as runs/NAME/checkpoints/step-00001000"
        ) from error
    if state is None:
        raise UserError(f"{path} was written by a newer xfm: upgrade xfm to read it")
    return state


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None, rank: int = 0
) -> tuple[CheckpointState, dict[str, Tensor] | None]:
    """Load a checkpoint into a model and, unless None, its optimiser; gives its state and the random states
    of the rank (None if the run had fewer processes). UserError names the damaged or foreign file or
    parameter."""
    state = read_state(path)
    if reason := damage(path, REQUIRED):
        raise UserError(f"{path} cannot be used: {reason}; take an older checkpoint of the same run")
    load_weights(path / MODEL, model)
    if optimizer is not None:
        _load_optimizer(path / OPTIMIZER, optimizer)
    return state, random_states(path, rank)


def random_states(path: Path, rank: int) -> dict[str, Tensor] | None:
    """The random states of a process in a checkpoint; None if the run had fewer processes."""
    file = path / _random_file(rank)
    return read_tensors(file) if file.exists() else None


@torch.no_grad()
def load_weights(file: Path, module: nn.Module, prefix: str = "") -> None:
    """Copy the tensors of a safetensors file whose names begin with `prefix` into the parameters and buffers
    of the same names without it. UserError: unreadable, or other names or shapes."""
    stored = read_tensors(file, prefix)
    own = unique_state(module)
    if differing := sorted(stored.keys() ^ own.keys()):
        side = "lacks" if differing[0] in own else "has an unknown"
        raise UserError(
            f"{file} {side} tensor {prefix}{differing[0]}: it belongs to another model configuration"
        )
    for name, tensor in own.items():
        if tensor.shape != stored[name].shape:
            raise UserError(
                f"{file}: {prefix}{name} has shape {list(stored[name].shape)}, this model needs "
                f"{list(tensor.shape)}: use the configuration that the file was trained with"
            )
        fill(tensor, stored[name])


def _load_optimizer(file: Path, optimizer: torch.optim.Optimizer) -> None:
    stored = read_tensors(file)
    parameters = {
        name: (parameter, group.get("fused"))
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }
    optimizer.state.clear()
    for key, value in stored.items():
        name, _, kind = key.rpartition("|")
        if name not in parameters:
            raise UserError(
                f"{file}: {name} is not trained in this run: use the configuration of the checkpoint"
            )
        parameter, fused = parameters[name]
        # The fused kernel keeps its step counter on the parameter's device, the others on the CPU.
        if kind != "step" or fused:
            value = part_like(value.to(parameter.device), parameter)
        optimizer.state[parameter][kind] = value


def checkpoints_of(folder: Path) -> list[Path]:
    """The checkpoints that a path names: those of a run, oldest first, or the one that it is; UserError if
    none."""
    inside = folder.parent if folder.name == "checkpoints" else folder
    if found := list_checkpoints(inside):
        return found
    if folder.resolve() in [path.resolve() for path in list_checkpoints(folder.parent.parent)]:
        return [folder]
    raise UserError(f"{folder} holds no checkpoints: name the folder of a run, such as runs/nano")


def size_of(path: Path) -> int:
    """Bytes of a checkpoint; 0 where its run has deleted it meanwhile."""
    with contextlib.suppress(OSError):
        return folder_size(path)
    return 0


def verified(path: Path, told: Callable[[int], object] = lambda read: None) -> dict[str, Any] | None:
    """A checkpoint whose files are compared with their checksums, as plain values: `size` in bytes; `written`
    and `processes` are None where they are damaged or unknown. None if its run has deleted it meanwhile.
    `told` hears bytes read."""
    wrong, size = damage(path, REQUIRED, told), size_of(path)
    if not path.is_dir():
        return None
    written = read_json_or_nothing(path / MANIFEST).get("written")
    found = {
        "step": int(path.name.removeprefix("step-")),
        "path": str(path),
        "written": written if isinstance(written, str) else None,
        "size": size,
        "processes": None,
        "damage": wrong,
        "changes": (),
        "samples": {},
    }
    try:
        state = read_state(path)
    except UserError as error:
        return found | {"damage": wrong or str(error)}
    return found | {"processes": state.world, "changes": state.changes, "samples": dict(state.samples)}
