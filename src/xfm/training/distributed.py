"""Ranks, collectives and wrapping for several processes, in one place.

A single process needs none of it: every function then does nothing or returns its input. `torchrun` sets the
environment that `processes` reads. How several hold a model is in `xfm.training.strategy`, what they exchange
of a batch in `xfm.training.collectives`.
"""

import contextlib
import gc
import importlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from xfm.core.errors import PeerReportedError, UserError, explained
from xfm.core.processes import process_count

T = TypeVar("T")
PATIENCE = 15.0
"""Seconds after which a process says that it waits for the others."""
_log = logging.getLogger(__name__)
_ASKED, _TOLD, _HERE = "xfm-asked", "xfm-told-", "xfm-here-"
"""Keys of the store: words that ask, the name that each is told, who knows a name."""
_PAUSE = 0.05
"""Seconds between two looks of the first process at who asks."""


def patiently(meet: Callable[[], T], timeout: timedelta) -> T:
    """Result of a call that waits for the other processes, told when that takes long. The call has its own
    thread, which Ctrl-C leaves behind: torch waits where Python hears no signal."""
    met: Future[T] = Future()

    def call() -> None:
        try:
            met.set_result(meet())
        except BaseException as error:
            met.set_exception(error)

    threading.Thread(target=call, daemon=True).start()  # an executor's would be waited for at the end
    if not wait([met], PATIENCE).done:
        own, count, host, port = (
            os.environ.get(name, "?") for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        )
        _log.warning(
            f"process {own} waits at {host}:{port} for the others of {count}, for "
            f"{timeout.total_seconds() / 60:g} minutes at most; a run of one process is started without "
            "torchrun, and without RANK and WORLD_SIZE"
        )
    while not wait([met], 1.0).done:  # a signal that another thread takes does not end a wait
        pass
    return met.result()


def name_of_round(store: Any, rank: int, count: int, timeout: timedelta) -> str:
    """A name that the processes of this round of torchrun share. Its store keeps addresses of ended
    processes, and agents count restarts differently, so the first process chooses a name and answers each
    process under a new word. RuntimeError: not all came."""
    word = secrets.token_hex(8)
    store.append(_ASKED, f"{word} ")
    if rank:
        name = store.get(_TOLD + word).decode()
        store.add(_HERE + name, 1)
        return name
    told: set[str] = set()
    end = time.monotonic() + timeout.total_seconds()
    while (here := store.add(_HERE + word, 0)) < count - 1:
        for asking in set(store.get(_ASKED).decode().split()) - told:
            store.set(_TOLD + asking, word)
            told.add(asking)
        if time.monotonic() > end:
            raise RuntimeError(f"{count - 1 - here} of {count} did not come")
        time.sleep(_PAUSE)
    return word


RESTARTS = "TORCHELASTIC_RESTART_COUNT"
"""How often torchrun has started the processes of this machine again because one of them had ended."""
_LONG = timedelta(days=7)
"""How long processes wait for words of one another: the first may look through a million pictures."""
_alone: list[bool] = []
"""Not empty inside `alone`."""
_talk: list[dist.ProcessGroup] = []
"""A group for values that are no tensors; empty where somebody else has set up the processes."""


@dataclass(frozen=True)
class Process:
    """This process among its peers: its rank, their number, and where it computes."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0


def pick_device(name: str = "auto") -> torch.device:
    """Device of a name: `auto` (this process's GPU, or the CPU), `cpu`, `cuda`, `cuda:1`; UserError if there
    is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name}: unknown; give auto, cpu, cuda or cuda:0") from None
    if device.type == "cpu":
        return device
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None or accelerator.type != device.type:
        raise UserError(f"device {name}: torch finds none on this machine; give auto or cpu")
    index = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
    if index >= (count := torch.accelerator.device_count()):
        raise UserError(f"device {name}: this machine has {count}, numbered from 0; give auto or one of them")
    return torch.device(device.type, index)


@contextlib.contextmanager
def processes(device: str = "auto", minutes: float = 30.0) -> Iterator[Process]:
    """Join the process group that torchrun describes, and leave it: NCCL on GPUs, gloo on CPUs; `minutes` is
    how long a process waits for the others in a step. The group is always destroyed: a thread of gloo that
    still holds a tensor when the interpreter ends aborts the process."""
    where = pick_device(device)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    starts = process_count() > 1 and not dist.is_initialized() and not _alone
    if starts:
        # DDP imports it, and some of its functions then keep the group of that moment as a default argument
        importlib.import_module("torch._dynamo")
        failing = f"the {process_count()} processes do not find one another"
        remedy = "start them with torchrun, at an address that all machines reach"
        with explained(failing, remedy, ValueError, RuntimeError):
            backend, timeout = "nccl" if where.type == "cuda" else "gloo", timedelta(minutes=minutes)
            store, own, count = patiently(lambda: _rendezvous(timeout), timeout)
            dist.init_process_group(backend, store=store, rank=own, world_size=count, timeout=timeout)
            _talk[:] = [cast("dist.ProcessGroup", dist.new_group(backend="gloo", timeout=_LONG))]
    try:
        yield Process(rank(), world(), where)
    finally:
        if starts:
            _talk.clear()
            gc.collect()  # DDP's reducers hold the group, and lie in cycles
            dist.destroy_process_group()


def _rendezvous(timeout: timedelta) -> tuple[Any, int, int]:
    """Store, rank and number of processes, under a name of this round: torchrun's restarts share a store, in
    which ended processes' addresses stay."""
    rendezvous, named = dist.rendezvous, dist.PrefixStore  # pyright: ignore[reportPrivateImportUsage]
    store, own, count = next(iter(rendezvous("env://", timeout=timeout)))
    return named(name_of_round(store, own, count, timeout), store), own, count


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside, this process is the only one: it works while the others do something else, or have ended."""
    _alone.append(True)
    try:
        yield
    finally:
        _alone.pop()


def rank() -> int:
    """Index of this process, 0 without a process group."""
    return dist.get_rank() if _grouped() else 0


def world() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if _grouped() else 1


def world_here() -> int:
    """How many of them run on this machine, as torchrun says; all of them without it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world())) if _grouped() else 1


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized() and not _alone


@contextlib.contextmanager
def collective(name: str) -> Iterator[None]:
    """Name what the processes do together, for the message of one that waits in vain."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(getattr(error, "collective", None), str):
            error.collective = name  # type: ignore[attr-defined]
        raise


def barrier() -> None:
    """Wait for all processes."""
    if world() > 1:
        with collective("a barrier"):
            dist.barrier()


def largest(values: Tensor) -> Tensor:
    """Elementwise maximum over the processes (in place)."""
    if world() > 1:
        with collective("a maximum over the processes (all_reduce)"):
            dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return values


def mean(values: Tensor) -> Tensor:
    """Elementwise mean over the processes (in place)."""
    if world() > 1:
        with collective("a mean over the processes (all_reduce)"):
            dist.all_reduce(values)
        values /= world()
    return values


def from_first(value: Any) -> Any:
    """The first process's picklable value, on every process."""
    if world() == 1:
        return value
    box = [value]
    with collective("a word of the first process (broadcast)"):
        dist.broadcast_object_list(box, src=0, group=_talk[0] if _talk else None)
    return box[0]


def on_first(work: Callable[[], T]) -> T:
    """Picklable result of work that the first process does, on every process; so is its UserError, shown by
    the first."""
    found: tuple[Any, str | None] = (None, None)
    if rank() == 0:
        try:
            found = work(), None
        except UserError as error:
            found = None, str(error)
    value, problem = from_first(found)
    if problem is not None:
        raise UserError(problem) if rank() == 0 else PeerReportedError(problem)
    return value


def gathered_by_first(value: Any) -> list[Any]:
    """The picklable values of all processes, in the order of the ranks; nothing but at the first."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world() if rank() == 0 else []
    with collective("what all processes save (gather)"):
        dist.gather_object(value, values or None, dst=0, group=_talk[0] if _talk else None)
    return values


def collect(value: Any) -> list[Any]:
    """The picklable values of all processes, in the order of the ranks."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    with collective("the words of all processes (all_gather)"):
        dist.all_gather_object(values, value, group=_talk[0] if _talk else None)
    return values


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor. Of one that lies in parts, every process must ask at the same place."""
    full: Any = getattr(tensor, "full_tensor", None)
    return tensor if full is None else full()


@torch.no_grad()
def fill(tensor: Tensor, values: Tensor) -> None:
    """Copy the values of a whole tensor into one that may lie in parts."""
    tensor.copy_(part_like(values, tensor))


def part_like(values: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, in a tensor that lies as another one of the same shape does."""
    mesh: Any = getattr(like, "device_mesh", None)
    if mesh is None or values.shape != like.shape:
        return values
    from torch.distributed.tensor import distribute_tensor

    placements: Any = getattr(like, "placements", None)
    # Every process has read the same file: nothing need be sent.
    return distribute_tensor(values.to(like.device), mesh, placements, src_data_rank=None)
