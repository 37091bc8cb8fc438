"""The batches of a run's steps, fetched apart from its random state, and given up when it is to stop."""

from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

from xfm.errors import UserError
from xfm.training.signals import StalledError, StopRequest

B = TypeVar("B")


class Feed(Generic[B]):
    """The batches of each step; as a context, what loads them has ended afterwards, whatever happened.

    Args:
        stream: the batches.
        accumulate: batches a step.
    """

    def __init__(self, stream: Iterator[B], accumulate: int) -> None:
        self._stream, self._accumulate = stream, accumulate

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()

    def fetch(self, stop: StopRequest) -> list[B] | None:
        """The batches of the next step; None if the loader ended or hangs while the run is being stopped.

        Loading never touches the random state of the training: torch's DataLoader draws a seed when it
        starts, which a resumed run does at another step.
        """
        try:
            with torch.random.fork_rng(devices=[]), stop.waiting():
                return [next(self._stream) for _ in range(self._accumulate)]
        except StalledError:
            return None
        except (RuntimeError, UserError):
            if stop.received:  # the signal may have reached and ended the loader processes, too
                return None
            raise
