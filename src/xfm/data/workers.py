"""The loader processes of every training: what they send, how they are watched, and that they end.

A batch is sent with all its tensors in one block of shared memory: each block costs a connection to the
loader and an open file."""

import contextlib
import gc
import io
import logging
import math
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from xfm.core.errors import UserError, explained, first_line
from xfm.core.processes import end_with_parent, kill, kill_at_exit
from xfm.data.schema import TensorFields
from xfm.data.streams import RecordTally

B = TypeVar("B", bound=TensorFields)
_FILES = 64
"""Open files below which loader processes cannot be talked to."""
_ALIGNED = 64
"""Bytes of which the place of each tensor is a multiple: any type may stand there, and vectors are loaded."""


@dataclass(frozen=True)
class SharedBatch(Generic[B]):
    """`shell`: a pickled batch without tensors; `block` [N] uint8: these in shared memory, or bytes."""

    shell: bytes
    block: Tensor | bytes

    @classmethod
    def of(cls, batch: B) -> Self:
        """Take a batch apart."""
        shell, tensors, size = io.BytesIO(), list[tuple[int, Tensor]](), 0

        def placed(item: Any) -> tuple[int, torch.dtype, tuple[int, ...]] | None:
            nonlocal size
            if not isinstance(item, Tensor):
                return None
            place, size = size, size - (-item.nbytes // _ALIGNED) * _ALIGNED
            tensors.append((place, item))
            return place, item.dtype, tuple(item.shape)

        packer = pickle.Pickler(shell, pickle.HIGHEST_PROTOCOL)
        packer.persistent_id = placed
        packer.dump(batch)
        block = torch.empty(size, dtype=torch.uint8)
        for place, tensor in tensors:
            _part(block, place, tensor.dtype, tensor.shape).copy_(tensor)
        try:
            # torch would do so in a thread that drops the batch where that fails: training would wait.
            return cls(shell.getvalue(), block.share_memory_())
        except (RuntimeError, OSError):
            return cls(shell.getvalue(), block.numpy().tobytes())

    def pin_memory(self) -> Self:
        """A copy in page-locked memory (called by DataLoader)."""
        return replace(self, block=self.block.pin_memory()) if isinstance(self.block, Tensor) else self

    def unpacked(self) -> B:
        """The batch; its tensors are parts of the block."""
        block = self.block
        whole = torch.frombuffer(bytearray(block), dtype=torch.uint8) if isinstance(block, bytes) else block
        unpacker = pickle.Unpickler(io.BytesIO(self.shell))
        unpacker.persistent_load = lambda place: _part(whole, *place)
        return unpacker.load()


def _part(block: Tensor, place: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return block[place : place + math.prod(shape) * dtype.itemsize].view(dtype).view(shape)


SETTING = "data.workers (--workers of a fine-tuning)"
"""How many there are, for messages."""
_log = logging.getLogger(__name__)
PATIENCE = 2.0
"""Seconds that loader processes have to end by themselves."""
_POLL = 2


@lru_cache(maxsize=16)
def _warn_once(message: str) -> None:
    _log.warning(message)


class _Steps(Dataset[Any], Generic[B]):
    """Step -> batch, or what was met instead of its samples; a UserError travels as a value."""

    def __init__(self, build: Callable[[int], B | RecordTally]) -> None:
        self.build = build

    def __getitem__(self, step: int) -> B | RecordTally | UserError | SharedBatch[B]:
        try:
            batch = self.build(step)
        except UserError as error:
            return UserError(str(error))
        if isinstance(batch, RecordTally) or get_worker_info() is None:
            return batch
        return SharedBatch.of(batch)


def load_steps(
    build: Callable[[int], B | RecordTally], steps: range, workers: int, timeout: float, pin: bool
) -> Generator[B | RecordTally, None, None]:
    """The batches of some steps in order, of `workers` loader processes (0 loads in this one); closing the
    generator ends them. UserError as of `build`, or where one dies or takes `timeout` seconds (0: no
    limit)."""
    if workers:
        # Workers are forked; a tokenizer that has used threads before would complain or hang.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        if sys.platform != "win32":
            import resource

            few, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            if 0 <= few < _FILES:  # some threads of theirs would fail with a traceback each
                remedy = f"raise the limit (`ulimit -n 8192`), or set {SETTING} to 0."
                raise UserError(f"Loader processes need more than the {few} files that may be open: {remedy}")
    loader = DataLoader(
        _Steps(build),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        worker_init_fn=_start_worker,
        pin_memory=pin,
        timeout=_POLL if workers else 0,
        # Of its own: making an iterator draws a number, and the global generator must stay as resumed.
        generator=torch.Generator(),
    )
    remedy = f"lower {SETTING} (0 needs none), or make room in memory and /dev/shm"
    with explained("loader processes cannot be started", remedy, OSError):
        iterator = iter(loader)
    processes: list[BaseProcess] = list(getattr(iterator, "_workers", []))
    kill_at_exit(processes)
    try:
        for _ in steps:
            try:
                found = _next(iterator, timeout)
            except (OSError, EOFError) as error:  # the connection that passes memory on
                raise (_gone(processes, error) or error) from error
            if isinstance(found, UserError):
                raise found
            if isinstance(found, SharedBatch):
                if isinstance(found.block, bytes):
                    told = "batches go through pipes, which is slower; give it more, or lower"
                    _warn_once(f"too little shared memory (/dev/shm) for a batch: {told} {SETTING}")
                found = found.unpacked()
            yield found
    finally:
        _end(iterator, processes)


def _next(iterator: Iterator[Any], timeout: float) -> Any:
    began = time.monotonic()
    while True:
        try:
            return next(iterator)
        except RuntimeError as error:
            if explained := loader_death(error):
                raise explained from error
            if "DataLoader timed out" not in str(error):
                raise
            waited = time.monotonic() - began
            if not timeout or waited < timeout:
                continue
            told = "see whether the disk of the data answers, or raise data.timeout (0: no limit)"
            raise UserError(f"No batch came from the loaders for {waited:.0f} seconds: {told}.") from error


def loader_death(error: BaseException) -> UserError | None:
    """A UserError for torch's message, raised anywhere, that a loader died; None for other errors."""
    text = str(error)
    if not isinstance(error, RuntimeError) or "DataLoader worker (pid" not in text:
        return None
    return _died(first_line(error).rstrip(". "))


def _gone(processes: Sequence[BaseProcess], error: BaseException) -> UserError | None:
    deadline = time.monotonic() + PATIENCE
    while all(process.is_alive() for process in processes):
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)
    return _died(first_line(error) or type(error).__name__)


def _died(reason: str) -> UserError:
    likely = "most likely for want of memory"
    return UserError(f"A loader process died ({reason}), {likely}: lower {SETTING} or the batch sizes.")


def _end(iterator: Iterator[Any], processes: Sequence[BaseProcess]) -> None:
    if not processes or sys.is_finalizing():
        return
    timer = threading.Timer(PATIENCE, lambda: [process.kill() for process in processes])
    timer.daemon = True
    # torch's shutdown waits five seconds for each process; one that is killed meanwhile raises.
    with contextlib.suppress(RuntimeError, ValueError):
        timer.start()
        iterator._shutdown_workers()  # type: ignore[attr-defined]
    timer.cancel()
    with contextlib.suppress(ValueError):
        kill(processes)


def _say_unless_cut_off(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # Of the thread that passes memory on: where the training broke off, it has said a sentence already.
    if not isinstance(error, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _start_worker(worker: int) -> None:
    """A scheduler signals the whole process group, and training needs its loaders for the step: hence a
    loader ignores the signals; it ends with the training process, or is killed by it."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.excepthook = _say_unless_cut_off
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    gc.freeze()  # collections pass over what was there before the fork, and write to none of its pages
