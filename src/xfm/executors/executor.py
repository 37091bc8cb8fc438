"""Units of work in this process, in processes of this machine, or as one of the tasks of an array."""

import multiprocessing
import os
import re
import signal
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from xfm.core.errors import UserError, first_line, import_extra
from xfm.core.processes import end_with_parent, kill, undisturbed

_AHEAD = 4
"""Units a process that wait for it: of a million, none is queued before its turn."""
_MAX_TASKS = 1_000_000

U = TypeVar("U")
R = TypeVar("R")


class Executor(ABC):
    """Does units of work; of an array task, other processes that somebody else starts do the other units."""

    is_array_task = False

    def share(self, numbers: Sequence[int]) -> Sequence[int]:
        """Those of some numbered units that are done by this executor."""
        return numbers

    @abstractmethod
    def run(self, function: Callable[[U], R], units: Iterable[U], done: Callable[[U, R], None]) -> None:
        """Call a function, which can be pickled and is small (each process is given it once), with each unit,
        in any order. `done` is told each unit and its result, in this process; what it raises ends the work.
        UserError: a unit raised it, or its process died."""


class LocalPool(Executor):
    """Processes of this machine, which end with this one; one worker does the work in this process."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, function: Callable[[U], R], units: Iterable[U], done: Callable[[U, R], None]) -> None:
        """See `Executor.run`."""
        rest = iter(units)
        first = [*islice(rest, 2)]
        if self.workers == 1 or len(first) < 2:
            for unit in chain(first, rest):
                done(unit, function(unit))
            return
        pool = ProcessPoolExecutor(self.workers, _context(function), _start, (function,))
        waiting: dict[Future[Any], U] = {}
        try:
            for unit in chain(first, rest):
                with undisturbed:
                    waiting[pool.submit(_call, unit)] = unit
                if len(waiting) >= _AHEAD * self.workers:
                    _take(waiting, done)
            while waiting:
                _take(waiting, done)
        except BaseException as error:
            # A unit is done whole or not at all: nobody waits for those that are under way.
            kill([*(pool._processes or {}).values()])  # pyright: ignore[reportPrivateUsage]
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "a process that did a part of the work died, perhaps for lack of memory: run the same "
                    "command again, which goes on, with fewer of them (--workers or --processes)"
                ) from None
            raise
        finally:
            pool.shutdown(cancel_futures=True)


class ArrayTask(LocalPool):
    """Every n-th unit, by its number, so that shares do not depend on what is done already. `text` is `3/16`,
    the fourth of sixteen, as `$SLURM_ARRAY_TASK_ID` is with --array=0-15; raises UserError."""

    is_array_task = True

    def __init__(self, text: str, workers: int) -> None:
        super().__init__(workers)
        found = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text.strip())
        if not found or not int(found[1]) < int(found[2]) <= _MAX_TASKS:
            raise UserError(
                f"--array is {text!r}: give PLACE/COUNT with places from 0, such as 0/16 to 15/16 "
                '(--array "$SLURM_ARRAY_TASK_ID/16" with #SBATCH --array=0-15)'
            )
        self.place, self.count = int(found[1]), int(found[2])

    def share(self, numbers: Sequence[int]) -> Sequence[int]:
        """See `Executor.share`."""
        return [number for number in numbers if number % self.count == self.place]


def _take(waiting: dict[Future[Any], Any], done: Callable[[Any, Any], None]) -> None:
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        done(waiting.pop(future), future.result())


def _context(function: Any) -> BaseContext:
    """Processes are started anew, where that can be from one that has imported what the function needs."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_module(function)])
    resource_tracker.ensure_running()  # it is started with signals let in, whatever holds here
    # Inherited by the server and what it forks: a signal to all is the parent's alone, which then ends them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _module(function: Any) -> str:
    inner = getattr(function, "func", getattr(function, "function", None))
    return function.__module__ if inner is None else _module(inner)


_function: Callable[[Any], Any] | None = None


def _start(function: Callable[[Any], Any]) -> None:
    global _function
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent stops the pool, in one voice
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # a broken pool ends its processes by it
    _function = function


def _call(unit: Any) -> Any:
    assert _function is not None
    return _function(unit)


_RAY_AHEAD = 2
"""Units a core (or GPU) that are handed out: what waits can still go to a machine that joins."""
_TRIES = 10
"""How often a unit is tried whose machine or process dies."""


class RayTasks(Executor):
    """Tasks of the cluster that `RAY_ADDRESS` names, or of a Ray started here; at most `workers` at a time
    (0: all), with a GPU each where wanted and there."""

    def __init__(self, workers: int = 0, gpus: bool = False) -> None:
        self.workers, self.gpus = workers, gpus

    def run(self, function: Callable[[U], R], units: Iterable[U], done: Callable[[U, R], None]) -> None:
        """See `Executor.run`. A unit whose machine is lost is done again on another."""
        ray = import_extra("ray", "--engine ray")
        own = not ray.is_initialized()
        if own:
            _begin(ray)
        waiting: dict[Any, U] = {}
        try:
            kind = "GPU" if self.gpus and ray.cluster_resources().get("GPU") else "CPU"
            task = ray.remote(num_cpus=1, num_gpus=int(kind == "GPU"), max_retries=_TRIES)(
                lambda function, unit: function(unit)
            )
            shared, rest, some = ray.put(function), iter(units), True
            while some or waiting:
                places = int(ray.cluster_resources().get(kind, 1))
                limit = self.workers or max(1, _RAY_AHEAD * places)
                for unit in islice(rest, limit - len(waiting)) if len(waiting) < limit else ():
                    waiting[task.remote(shared, unit)] = unit
                some = bool(waiting)
                for one in ray.wait([*waiting], num_returns=1)[0] if waiting else ():
                    done(waiting.pop(one), _outcome(ray, one))
        finally:
            for one in waiting:
                ray.cancel(one, force=True)
            if own:
                ray.shutdown()


def _begin(ray: Any) -> None:
    # Ray's own handler would end the process with another status, and never gives the old one back.
    ours = signal.getsignal(signal.SIGTERM)
    try:
        host, _, port = os.environ.get("RAY_ADDRESS", "").rpartition(":")
        if host and port.isdecimal() and "://" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, OverflowError, RuntimeError) as error:
        raise UserError(
            f"Ray cannot be reached or started ({first_line(error)}): check RAY_ADDRESS, or unset it for a "
            "Ray on this machine"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)


def _outcome(ray: Any, task: Any) -> Any:
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        raise UserError(
            f"Ray lost a part of the work {_TRIES} times ({first_line(error)}): run the same command again, "
            "which goes on; where processes are killed for memory, with fewer --workers"
        ) from error
