"""Processes that end with their parent, and commands that one process runs alone."""

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import platform
import re
import signal
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from xfm.core.errors import UserError

_PR_SET_PDEATHSIG = 1
_CPUINFO = Path("/proc/cpuinfo")
undisturbed = threading.Lock()
"""While it is held, signals are put off: a helper begun after this process finds nothing that they share."""
_helpers: "weakref.WeakSet[BaseProcess]" = weakref.WeakSet()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The name of the processor, with family and model: virtual machines say "AMD EPYC" of any year."""
    try:
        first = _CPUINFO.read_text(errors="replace").partition("\n\n")[0]
    except OSError:
        first = ""
    found = dict(re.findall(r"^(.*?)\s*: (.*?)\s*$", first, re.MULTILINE))
    name = found.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{key.removeprefix('cpu ')} {found[key]}" for key in ("cpu family", "model") if key in found]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def free_memory() -> int | None:
    """Bytes that this machine, or the container that limits this process, has left; None where unknown."""
    try:
        rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(rows["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return min(free, max(0, int(limit) - int(used)))
    except (OSError, ValueError):  # another system of groups, or no limit
        return free


# ---------------------------------------------------------------- in the helper
def end_with_parent() -> None:
    """End this helper as soon as its parent ends; call it first. On Linux the kernel sees to it; elsewhere a
    thread, which needs the interpreter now and then. A process that multiprocessing has not started is left
    alone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    # A helper of a fork server has another parent than the process that it works for.
    if sys.platform.startswith("linux") and os.getppid() == parent.pid:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:  # it ended in between
            os._exit(1)
        return
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


# ---------------------------------------------------------------- in the parent
def kill_at_exit(helpers: Iterable[BaseProcess]) -> None:
    """Kill helpers that ignore SIGTERM at exit: multiprocessing would wait for them for ever."""
    _helpers.update(helpers)


def kill(helpers: Iterable[BaseProcess]) -> None:
    """Kill helpers and wait until they are gone."""
    helpers = list(helpers)
    for helper in helpers:
        helper.kill()
    for helper in helpers:
        helper.join()


@atexit.register  # after multiprocessing's own, hence called before it
def _kill_helpers() -> None:
    mine = [helper for helper in _helpers if helper.is_alive()]
    if mine and sys.platform != "win32" and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's would raise for a loader that was killed
    with contextlib.suppress(OSError):
        kill(mine)


# ---------------------------------------------------------------- signals
def put_off(number: int) -> bool:
    """Whether a signal is sent again later: while torch is imported, an exception aborts the process."""
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    if not undisturbed.locked() and not getattr(spec, "_initializing", False):
        return False
    again = threading.Timer(0.1, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
    return True


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, in the main thread and where it has its usual meaning."""
    usual = threading.current_thread() is threading.main_thread()
    if not usual or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    owner = os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if put_off(number):
            return
        if os.getpid() != owner:  # a child that was forked from here ends as it would without this
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        signal.signal(number, signal.SIG_IGN)  # once: a scheduler may repeat it while things are cleared
        raise KeyboardInterrupt("stopped by SIGTERM")

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


# ---------------------------------------------------------------- alone
def is_first_process() -> bool:
    """Whether this is the first of the processes that torchrun has started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def process_count() -> int:
    """Processes that torchrun has started; raises UserError where the environment names none."""
    said, mine = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK", "0")
    if not said.isdecimal() or int(said) < 1:
        raise UserError(f"WORLD_SIZE is {said!r}, no number of processes: unset it, or start with torchrun")
    if not mine.isdecimal() or int(mine) >= int(said):
        raise UserError(
            f"RANK is {mine!r}, none of the processes 0 to {int(said) - 1} of WORLD_SIZE: unset both, or "
            "start with torchrun"
        )
    return int(said)


def is_alone(what: str) -> bool:
    """Whether this is the only process; of several, the first one raises UserError for all."""
    if (count := process_count()) > 1 and is_first_process():
        raise UserError(
            f"{what} runs in one process, and torchrun has started {count}, which would all do the same "
            "work: start it without torchrun (xfm pretrain and xfm finetune are for several processes)"
        )
    return count == 1
