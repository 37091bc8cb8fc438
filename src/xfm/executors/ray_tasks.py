"""Units of work as Ray tasks, on all machines of a cluster; the folders of the work are shared by them."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from xfm.core.errors import UserError, first_line, import_extra
from xfm.executors.executor import Executor, R, U

_AHEAD = 2
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
            task = ray.remote(num_cpus=1, num_gpus=int(kind == "GPU"), max_retries=_TRIES)(_call)
            shared, rest, some = ray.put(function), iter(units), True
            while some or waiting:
                places = int(ray.cluster_resources().get(kind, 1))
                limit = self.workers or max(1, _AHEAD * places)
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


def _call(function: Callable[[Any], Any], unit: Any) -> Any:
    return function(unit)
