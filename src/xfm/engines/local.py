"""Units of work in this process, or in processes of this machine."""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext

from xfm.engines.base import Executor, Units
from xfm.errors import UserError
from xfm.processes import end_with_parent, undisturbed

_AHEAD = 4
"""Units a process that wait for it: of a million, none is queued before its turn."""

_units: Units | None = None


class LocalPool(Executor):
    """Processes of this machine, which end with this one.

    Args:
        workers: how many; one does the work in this process.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, units: Units, numbers: Sequence[int], after: Callable[[int], None]) -> None:
        """See `Executor.run`."""
        if self.workers == 1 or len(numbers) < 2:
            for number in numbers:
                units.make(number)
                after(number)
            return
        workers, context = min(self.workers, len(numbers)), _context(units)
        pool = ProcessPoolExecutor(workers, context, _start, (units,))
        waiting: set[Future[int]] = set()
        rest = iter(numbers)
        try:
            while True:
                for number in rest:
                    with undisturbed():
                        waiting.add(pool.submit(_make, number))
                    if len(waiting) >= _AHEAD * workers:
                        break
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    after(future.result())
        except BrokenProcessPool:
            raise UserError(
                "a process that did a part of the work died, perhaps for lack of memory: run the same "
                "command again, which goes on, with fewer --workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _context(units: Units) -> BaseContext:
    """How processes are started: anew, where that can be from one that has imported what the units need."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([type(units).__module__])
    resource_tracker.ensure_running()  # it is started with signals let in, whatever holds here
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()  # it inherits that, as what it forks does: Ctrl-C is the parent's alone
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _start(units: Units) -> None:
    global _units
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent stops the pool, in one voice
    _units = units


def _make(number: int) -> int:
    assert _units is not None
    _units.make(number)
    return number
