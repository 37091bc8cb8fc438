"""Units of work as Ray tasks, on all machines of a cluster; the folders of the work are shared by them."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from xfm.engines.base import Executor, Units
from xfm.errors import UserError, first_line, import_extra

_AHEAD = 2
"""Units a core (or GPU) that are handed out: what waits can still go to a machine that joins."""
_TRIES = 10
"""How often a unit is tried whose machine or process dies."""


class RayTasks(Executor):
    """Tasks of the cluster that `RAY_ADDRESS` names, or of a Ray that is started on this machine.

    Args:
        workers: units that are done at a time at most; 0 takes all of the cluster.
        gpus: whether a unit takes a GPU, where the cluster has some.
    """

    def __init__(self, workers: int = 0, gpus: bool = False) -> None:
        self.workers, self.gpus = workers, gpus

    def run(self, units: Units, numbers: Sequence[int], after: Callable[[int], None]) -> None:
        """See `Executor.run`. A unit whose machine is lost is done again on another."""
        ray = import_extra("ray", "--engine ray")
        own = not ray.is_initialized()
        if own:
            _begin(ray)
        try:
            self._run(ray, units, numbers, after)
        finally:
            if own:
                ray.shutdown()

    def _run(self, ray: Any, units: Units, numbers: Sequence[int], after: Callable[[int], None]) -> None:
        kind = "GPU" if self.gpus and ray.cluster_resources().get("GPU") else "CPU"
        task = ray.remote(num_cpus=1, num_gpus=int(kind == "GPU"), max_retries=_TRIES)(_make)
        shared, rest, waiting = ray.put(units), iter(numbers), list[Any]()
        try:
            while True:
                places = int(ray.cluster_resources().get(kind, 1))
                most = self.workers or max(1, _AHEAD * places)
                while len(waiting) < most and (number := next(rest, None)) is not None:
                    waiting.append(task.remote(shared, number))
                if not waiting:
                    return
                done, waiting = ray.wait(waiting, num_returns=1)
                for one in done:
                    after(_outcome(ray, one))
        finally:
            for one in waiting:
                ray.cancel(one, force=True)


def _begin(ray: Any) -> None:
    """Join the cluster of RAY_ADDRESS, or start a Ray here.

    Raises:
        UserError: there is none, or it cannot be started.
    """
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


def _outcome(ray: Any, task: Any) -> int:
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


def _make(units: Units, number: int) -> int:
    units.make(number)
    return number
