"""One piece of work beside the training, in a thread: writing a checkpoint."""

import threading
from collections.abc import Callable


class WorkBeside:
    """Does one piece of work at a time; the interpreter does not end before it has.

    What it raises is kept for whoever asks: at the next step, or when the work must be done.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether the work has ended with an error that nobody has been told of."""
        return self._error is not None

    def start(self, work: Callable[[], None]) -> None:
        """Begin; what was begun before must be done, see `wait`."""
        if self._thread is not None:
            raise RuntimeError("the work before is not done")
        self._thread = threading.Thread(target=self._do, args=(work,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is under way; raises what the work raised, once."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error
