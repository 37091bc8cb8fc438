"""Where the processes of a run meet, and a name for each time that torchrun starts them, which all know."""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Set
from concurrent.futures import Future, wait
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE = 15.0
"""Seconds after which a process says that it waits for the others."""
_log = logging.getLogger(__name__)
_ASKED = "xfm-asked"
_PAUSE = 0.05
"""Seconds between two looks of the first process at who asks."""


def patiently(meet: Callable[[], T], timeout: timedelta) -> T:
    """What a call gives that waits for the other processes; it says so when that takes long.

    torch waits where Python hears no signal. So the call has a thread of its own, which Ctrl-C leaves behind.

    Args:
        meet: the call.
        timeout: how long it waits itself.
    """
    met: Future[T] = Future()

    def call() -> None:
        try:
            met.set_result(meet())
        except BaseException as error:
            met.set_exception(error)

    threading.Thread(target=call, daemon=True).start()  # an executor's would be waited for at the end
    if not wait([met], PATIENCE).done:
        _log.warning("%s", _waiting(timeout))
    while not wait([met], 1.0).done:  # a signal that another thread takes does not end a wait
        pass
    return met.result()


def _waiting(timeout: timedelta) -> str:
    own, count, host, port = (
        os.environ.get(name, "?") for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    )
    minutes = timeout.total_seconds() / 60
    return (
        f"process {own} waits at {host}:{port} for the others of {count}, for {minutes:g} minutes at most; a "
        "run of one process is started without torchrun, and without RANK and WORLD_SIZE"
    )


def name_of_round(store: Any, rank: int, count: int, timeout: timedelta) -> str:
    """A name that the processes of this round share, and those of no other one.

    The agents of torchrun keep a store over all rounds, in which addresses of processes that have ended are
    left, and nothing that they tell their processes names the round: each agent counts the restarts that it
    began by itself, so that one that comes in place of another one, or restarts because another one does,
    counts fewer. So the first process chooses a name, and tells it whoever asks by a word that was never used
    before: those that ended before they were told are answered, too, and do not hear it.

    Args:
        store: a `torch.distributed.Store`, that of the agents.
        rank: of this process.
        count: of the processes.
        timeout: how long to wait for the others.

    Raises:
        RuntimeError: not all of them came.
    """
    word = secrets.token_hex(8)
    store.append(_ASKED, f"{word} ")
    if rank:
        name = store.get(_told(word)).decode()
        store.add(_here(name), 1)
        return name
    told: set[str] = set()
    end = time.monotonic() + timeout.total_seconds()
    while (here := store.add(_here(word), 0)) < count - 1:
        told |= _tell(store, word, told)
        if time.monotonic() > end:
            raise RuntimeError(f"{count - 1 - here} of {count} did not come")
        time.sleep(_PAUSE)
    return word


def _tell(store: Any, name: str, told: Set[str]) -> set[str]:
    new = set(store.get(_ASKED).decode().split()) - told
    for word in new:
        store.set(_told(word), name)
    return new


def _told(word: str) -> str:
    return f"xfm-told-{word}"


def _here(name: str) -> str:
    return f"xfm-here-{name}"
