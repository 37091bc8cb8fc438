"""What ends a training, or skips a step: signals, and in a sentence lack of memory, lost processes, NaN."""

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

import torch.distributed as dist

from xfm.core.errors import UserError, chain, first_line, out_of_memory
from xfm.data.workers import loader_death
from xfm.training import distributed

PATIENCE = 20.0
"""Seconds that data may still take to come once a run is to stop."""


class Interrupted(KeyboardInterrupt):
    """Training stopped on request after saving; the message says how to go on."""


class StalledError(KeyboardInterrupt):
    """A wait was given up because the run is to stop. Nobody on the way may take it for a bad record."""


class StopRequest:
    """While active, the first SIGINT or SIGTERM sets `received` and a second SIGINT interrupts. Loader
    processes pass over them; outside the main thread nothing is handled."""

    def __init__(self) -> None:
        self.received = False
        self._waiting = False
        self._owner = os.getpid()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
            if sys.platform != "win32":  # which has no alarms: there a wait is not given up
                self._previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._give_up)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, a wait ends with StalledError `PATIENCE` seconds after the request."""
        self._waiting = True
        if self.received:
            self._set_alarm(PATIENCE)
        try:
            yield
        finally:
            self._waiting = False
            if self.received:
                self._set_alarm(0)

    def _set_alarm(self, seconds: float) -> None:
        if self._previous and sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def _give_up(self, number: int, frame: FrameType | None) -> None:
        if self._waiting and os.getpid() == self._owner:
            raise StalledError

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.received and self._waiting:
            self._set_alarm(PATIENCE)
        self.received = True


_LOST_PEER = re.compile(
    "Connection (closed by peer|reset by peer|refused)|Broken pipe|NCCL|gloo|Socket Timeout|Timed out waiting"
)


@contextlib.contextmanager
def explaining_failures(place: Callable[[], str]) -> Iterator[None]:
    """Turn short memory, a dead loader and lost processes into a UserError that ends with `place()`, how far
    the run is."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if said := _explained(error):
            raise UserError(f"{said}; {place()}") from error
        raise
    except KeyboardInterrupt as interrupt:
        # torchrun ends the others once one has ended: what this one was about to say is the reason
        lost = next((one for one in chain(interrupt) if _is_lost_peer(one)), None)
        if lost is None or isinstance(interrupt, Interrupted):
            raise
        raise UserError(f"{_lost(lost)}; {place()}") from lost


def _explained(error: MemoryError | RuntimeError) -> str | None:
    if out_of_memory(error):
        said = first_line(error, 120).rstrip(". ")
        return (
            f"Out of memory ({said}): lower the batch sizes, and raise training.gradient_accumulation_steps "
            "as much if the steps shall stay as large (a fine-tuning needs --gradient-accumulation-steps "
            "alone), or take a device with more memory or a smaller model"
        )
    if found := loader_death(error):
        return str(found).rstrip(".")
    return _lost(error) if _is_lost_peer(error) else None


def _is_lost_peer(error: BaseException) -> bool:
    if distributed.world() == 1 or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or _LOST_PEER.search(str(error)) is not None


def _lost(error: BaseException) -> str:
    doing = f" in {name}" if (name := getattr(error, "collective", None)) else ""
    return (
        f"Process {distributed.rank()} of {distributed.world()} (counted from 0) stops{doing} because "
        f"another process ended or cannot be reached ({first_line(error).split('. ')[0]}): look for the "
        "message of that one"
    )
