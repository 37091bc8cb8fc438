"""Unchecked files, parsed by their libraries in another process with limits on memory, time and output. A
small file can be made to take all memory, hours, or the process. This one is started once and goes on
to the next file; it gives back bytes, of which nothing is executed. Memory is limited on Linux only."""

import atexit
import faulthandler
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from xfm.core.errors import UserError, first_line

MEMORY, SECONDS, LARGEST = 2 << 30, 120, 1 << 30
"""Bytes that a parser may take beside its libraries, time until its next answer, bytes of an answer."""
_HEAD = struct.Struct("<BQ")
_ANSWER, _END, _REFUSED, _FAILED = b"aerf"
_SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
_START = "import sys; sys.path[:] = {!r}; from xfm.core.sandbox import serve; serve()"


class ParsingError(ValueError):
    """What a library says of a file, or what became of its process; no `remedy`: it is damaged."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.remedy = remedy


# ---------------------------------------------------------------- here
class _Worker:
    def __init__(self) -> None:
        root = str(Path(__file__).parents[1])
        paths = [root, *(path for path in sys.path if path and path != root)]
        self._owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START.format(paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | _SETTINGS,
        )
        self._source: IO[bytes] = self.process.stdout  # pyright: ignore[reportAttributeAccessIssue]
        self._target: IO[bytes] = self.process.stdin  # pyright: ignore[reportAttributeAccessIssue]

    def ask(self, parser: str, arguments: tuple[Any, ...]) -> bool:
        if self.process.poll() is not None:
            return False
        try:
            self._target.write(json.dumps([parser, MEMORY, SECONDS, *arguments]).encode() + b"\n")
            self._target.flush()
        except OSError:
            return False
        return True

    def answer(self) -> bytes | None:
        head = self._source.read(_HEAD.size)
        kind, size = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
        if size > LARGEST:
            self.end()
            problem = f"it becomes {size} bytes at a time, more than {LARGEST}"
            raise ParsingError(problem, "write less at once")
        data = self._source.read(size)
        if not kind or len(data) < size:
            status = self.process.wait()
            if status == 1:
                problem = f"to read it takes more than {SECONDS} seconds"
                raise ParsingError(problem, "write it in smaller parts")
            raise ParsingError(
                f"the library that reads it ended with status {status}",
                "it is damaged, or holds what the library does not read: write it anew",
            )
        if kind == _REFUSED:
            raise UserError(data.decode())
        if kind == _FAILED:
            raise ParsingError(*json.loads(data))
        return data if kind == _ANSWER else None

    def end(self) -> None:
        if os.getpid() == self._owner:
            self.process.kill()
            self.process.wait()
        self._source.close()
        self._target.close()


_idle: list[_Worker] = []


def parsed(parser: str, *arguments: Any) -> Generator[bytes]:
    """What a parser (`MODULE:FUNCTION`, of a module that imports little) of JSON arguments gives back, piece
    by piece. Raises UserError where it refuses the file, ParsingError where the library cannot read it within
    the limits."""
    try:
        worker = _idle.pop()  # of several threads, each takes one
    except IndexError:
        worker = _Worker()
    while not worker.ask(parser, arguments):
        worker.end()
        worker = _Worker()
    whole = True
    try:
        while (data := worker.answer()) is not None:
            whole = False
            yield data
            whole = True
    finally:
        if whole and worker.process.poll() is None:
            _idle.append(worker)
        else:
            worker.end()


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


# ---------------------------------------------------------------- there
def serve() -> None:
    """Parse what is asked for on stdin until it ends, and answer on stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: whoever asks ends this process
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer

    def tell(kind: int, data: bytes | memoryview = b"") -> None:
        target.write(_HEAD.pack(kind, len(data)))
        target.write(data)
        target.flush()

    for line in sys.stdin.buffer:
        name, memory, seconds, *arguments = json.loads(line)
        module, _, function = name.partition(":")
        try:
            parser = getattr(import_module(module), function)
            _limit_memory(memory)
            for data in _in_time(parser(*arguments), seconds):
                tell(_ANSWER, data)
            tell(_END)
        except UserError as error:
            tell(_REFUSED, str(error).encode())
        except Exception as error:
            small = isinstance(error, MemoryError)
            problem = (
                f"to read it takes more than {memory >> 20} MiB of memory" if small else first_line(error)
            )
            remedy = "write it in smaller parts" if small else ""
            tell(_FAILED, json.dumps([problem, remedy]).encode())


def _in_time(pieces: Iterator[bytes | memoryview], seconds: float) -> Iterator[bytes | memoryview]:
    """The pieces; where the next one takes too long, the process ends with status 1, whatever it is doing."""
    while True:
        faulthandler.dump_traceback_later(seconds, exit=True)
        try:
            data = next(pieces, None)
        finally:
            faulthandler.cancel_dump_traceback_later()
        if data is None:
            return
        yield data


def _limit_memory(most: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a library that gives up leaves no file
    try:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # macOS
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = size + most if hard == resource.RLIM_INFINITY else min(hard, size + most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
