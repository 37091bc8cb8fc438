"""What surrounds every command: its streams, interrupts, and one sentence in place of a traceback."""

import atexit
import contextlib
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from xfm.core.errors import PeerReportedError, UserError, beneath, chain, explain, first_line, printable
from xfm.core.processes import put_off

FAILED, INTERRUPTED = 2, 130


@dataclass
class Running:
    """A command while it runs, as far as its caller knows it.

    Attributes:
        out: what it writes.
        prints: it ends where nobody reads its output.
        status: its exit status.
    """

    out: str = ""
    prints: bool = True
    status: int = 0


@contextlib.contextmanager
def guarded(debug: bool = False) -> Iterator[Running]:
    """A command runs inside; its errors become one sentence and the status 2 (what the user can mend), or 130
    (interrupted)."""
    running, interrupts = Running(), list[int]()
    with _streams(running) as (out, closed), _quiet_hooks(debug):
        try:
            with _noting_interrupts(interrupts):
                yield running
        except SystemExit as stop:  # help, or the version
            if _flushed(out, closed, running) == 0:
                raise
            raise SystemExit(FAILED) from stop
        except BaseException as error:
            if debug:
                _complain(_traceback(error), closed)
            before = next((one for one in chain(error) if isinstance(one, UserError)), None)
            said = str(error) if isinstance(error, KeyboardInterrupt) else ""
            if isinstance(before, PeerReportedError):
                running.status = INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
            elif before and said and not interrupts:  # torchrun's SIGTERM, while a failure was cleared up
                _complain(f"xfm: {before}", closed)
                running.status = FAILED
            elif interrupts or any(isinstance(one, KeyboardInterrupt) for one in chain(error)):
                _complain(f"\nxfm: {said or 'interrupted'}", closed)
                running.status = INTERRUPTED
            else:
                lost = out.lost if out else None
                if lost is None:
                    _complain(f"xfm: {_sentence(error, running.out, debug)}", closed)
                running.status = 0 if isinstance(error, BrokenPipeError) and lost is error else FAILED
        running.status = _flushed(out, closed, running)


def leaving() -> None:
    """For a process that is about to end: a late signal ends it, without traceback or that status."""
    exec("")  # CPython remembers an interrupt of code in a text, and would end by that signal: forget it
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end_at_once)


def _end_at_once(number: int, frame: Any) -> None:
    os._exit(INTERRUPTED)


@atexit.register  # before what libraries register, hence called after that
def _pass_over() -> None:
    """The interpreter gives signals their first meaning again while it takes itself apart, for seconds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _end_at_once:
            signal.signal(number, signal.SIG_IGN)


def _sentence(error: BaseException, place: str, debug: bool) -> str:
    if found := error if isinstance(error, UserError) else beneath(error):
        return str(found)
    if found := explain(error, place):
        return printable(found)
    what = type(error).__name__ + (f": {first_line(error)}" if str(error).strip() else "")
    where = "the traceback is above" if debug else _kept(error)
    return f"internal error: {printable(what)}; {where}; please report it"


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))


def _kept(error: BaseException) -> str:
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="xfm-error-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"xfm {' '.join(sys.argv[1:])}\n\n{_traceback(error)}")
    except OSError:
        return "run again with --debug to see the traceback"
    return f"the traceback is in {file.name}, or run again with --debug"


# ---------------------------------------------------------------- streams
class _Stream(io.FileIO):
    """A standard stream that fails once at most: after that, nobody reads it, and clearing up must not fail.

    Attributes:
        lost: why it cannot be written any more.
    """

    def __init__(self, handle: int, running: Running | None = None) -> None:
        super().__init__(handle, "w", closefd=False)
        self.lost: OSError | None = None
        self._running = running

    def write(self, data: Any, /) -> int | None:
        size = memoryview(data).nbytes
        if self.lost is not None:
            return size
        try:
            return super().write(data)
        except OSError as error:
            self.lost = error
            if self._running and self._running.prints:
                raise
            return size


def _complain(message: str, closed: set[str]) -> None:
    """Say what went wrong; where standard error is closed, on standard output."""
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stdout if "stderr" in closed else sys.stderr, flush=True)


@contextlib.contextmanager
def _streams(running: Running) -> Iterator[tuple[_Stream | None, set[str]]]:
    """Standard output of our own, and the names of closed streams, whose number would go to the next file,
    and a library's prints into it."""
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    before = sys.stdout, sys.stderr
    out = None
    closed = {name for name in ("stdout", "stderr") if getattr(sys, name) is None}
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Stream(2), before[1], lines=True)
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        if before[0] is not None:
            with contextlib.suppress(OSError, ValueError):
                before[0].flush()
        out = _Stream(1, running)
        at_once = getattr(before[0], "write_through", False)  # PYTHONUNBUFFERED
        sys.stdout = _text(out, before[0], lines=at_once or out.isatty())
    if "stdout" in closed:
        _complain("xfm: standard output is closed: what would be printed there is lost", closed)
    try:
        yield out, closed
    finally:
        sys.stdout, sys.stderr = before


def _text(raw: _Stream, before: TextIO | None, lines: bool) -> TextIO:
    """A text stream in the encoding of the one before; what that lacks is written as an escape."""
    encoding = before.encoding if before is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=lines
    )


def _flushed(out: _Stream | None, closed: set[str], running: Running) -> int:
    """The status after what is left was printed; a reader that has gone, such as `head`, is no failure."""
    if "stdout" in closed and running.prints:  # which was said at the beginning
        return running.status or FAILED
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    lost = out.lost if out else None
    if lost is None or lost.errno == errno.EPIPE:
        return running.status
    remedy = "what was saved before stays: send the output elsewhere"
    _complain(f"xfm: standard output cannot be written ({lost.strerror}); {remedy}", closed)
    return FAILED


# ---------------------------------------------------------------- hooks
@contextlib.contextmanager
def _noting_interrupts(noted: list[int]) -> Iterator[None]:
    """Note every Ctrl-C: a library that is being imported may turn it into an error of its own."""

    def interrupt(number: int, frame: Any) -> None:
        if put_off(number):
            return
        noted.append(number)
        signal.default_int_handler(number, frame)

    main = threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if ours and signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def _quiet_hooks(debug: bool) -> Iterator[None]:
    """Errors of threads and of clearing up, which nobody could act on, are shown for --debug only."""
    before = threading.excepthook, sys.unraisablehook
    if not debug:
        threading.excepthook = _thread_failed
        sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None and not isinstance(failure.exc_value, SystemExit):
        what = explain(failure.exc_value) or f"{failure.exc_type.__name__}: {first_line(failure.exc_value)}"
        print(f"xfm: beside the command: {printable(what)}", file=sys.stderr)
