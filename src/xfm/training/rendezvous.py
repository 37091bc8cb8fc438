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
    """A name that the processes of this round of torchrun share. Its store keeps addresses of ended
    processes, and agents count restarts differently, so the first process chooses a name and answers each
    process under a new word. RuntimeError: not all came."""
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
