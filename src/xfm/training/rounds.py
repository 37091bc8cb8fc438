"""A name for each time that torchrun starts the processes of a run, which all of them know."""

import secrets
import time
from collections.abc import Set
from datetime import timedelta
from typing import Any

_ASKED = "xfm-asked"
_PAUSE = 0.05
"""Seconds between two looks of the first process at who asks."""


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
    """Answer those that were not told yet."""
    new = set(store.get(_ASKED).decode().split()) - told
    for word in new:
        store.set(_told(word), name)
    return new


def _told(word: str) -> str:
    return f"xfm-told-{word}"


def _here(name: str) -> str:
    return f"xfm-here-{name}"
