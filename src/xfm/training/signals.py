"""Ctrl-C and SIGTERM as a request to stop after the step."""

import os
import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupted(KeyboardInterrupt):
    """Training stopped on request after saving; the message says how to go on."""


class StopRequest:
    """While active, the first SIGINT or SIGTERM sets `received`; a second SIGINT interrupts at once.

    Loader processes inherit the handlers and ignore the signal: the training process ends them when it is
    done. Outside the main thread signals cannot be handled, and nothing is changed.
    """

    def __init__(self) -> None:
        self.received = False
        self._owner = os.getpid()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True
