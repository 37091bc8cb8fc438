"""Ctrl-C and SIGTERM as a request to stop after the step."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

PATIENCE = 20.0
"""Seconds that data may still take to come once a run is to stop."""


class Interrupted(KeyboardInterrupt):
    """Training stopped on request after saving; the message says how to go on."""


class StalledError(KeyboardInterrupt):
    """A wait was given up because the run is to stop. Nobody on the way may take it for a bad record."""


class StopRequest:
    """While active, the first SIGINT or SIGTERM sets `received`; a second SIGINT interrupts at once.

    Loader processes pass over the signals: the training process ends them when it is done. Outside the main
    thread signals cannot be handled, and nothing is changed.
    """

    def __init__(self) -> None:
        self.received = False
        self._waiting = False
        self._owner = os.getpid()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
            self._previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._give_up)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, a wait for something that may never come ends `PATIENCE` seconds after the request.

        Raises:
            StalledError: it did.
        """
        self._waiting = True
        if self.received:
            self._set_alarm()
        try:
            yield
        finally:
            self._waiting = False
            if self.received and self._previous:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _set_alarm(self) -> None:
        if self._previous:
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _give_up(self, number: int, frame: FrameType | None) -> None:
        if self._waiting and os.getpid() == self._owner:
            raise StalledError

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.received and self._waiting:
            self._set_alarm()
        self.received = True
