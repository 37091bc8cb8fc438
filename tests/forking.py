"""Commands without the seconds that importing torch and others takes: a process that has them forks each.

What is forked is the command itself in all but its beginning: it has a session, an environment, a folder and
streams of its own, signals as at a start, and reads and runs `xfm` anew. /proc/PID/environ and cmdline tell
its parent's, and libraries have read the parent's environment: commands with variables that these read, or
with XFM_TEST_FRESH set (`make thorough`), begin from nothing (`tests.processes.Running`).

This file is also what the process that forks runs.
"""

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

_READ_AT_IMPORT = ("PYTHON", "OMP", "MKL", "KMP", "OPENBLAS", "LD_", "MALLOC", "TORCH", "CUDA", "HF_")
_LIBRARIES = (
    *("torch", "numpy", "PIL.Image", "pyarrow", "pyarrow.parquet", "tqdm", "yaml"),
    *("safetensors.torch", "tokenizers", "psutil", "torch.distributed", "torch.utils.data"),
    *("torchvision.io", "torchvision.transforms.v2", "torchvision.datasets"),
    *("scipy.fft", "scipy.interpolate", "scipy.optimize", "scipy.sparse", "scipy.stats", "matplotlib.figure"),
    *("sklearn.feature_extraction.text", "sklearn.linear_model", "sklearn.pipeline", "sklearn.preprocessing"),
    *("peft", "fastapi", "uvicorn", "prometheus_client"),
)
"""What commands take longest to import; those that are not installed are left out."""
_STREAMS = 4  # of a request: where the status goes; standard input, output, error


def can_fork(command: Sequence[str], extra: Mapping[str, str | None]) -> bool:
    python = list(command[:1]) == [sys.executable] and command[1] in ("-m", "-c")
    fresh = os.environ.get("XFM_TEST_FRESH") or any(name.startswith(_READ_AT_IMPORT) for name in extra)
    return python and not fresh and hasattr(os, "fork")


class Forked:
    """A forked command, with what `tests` need of `subprocess.Popen`."""

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path | None,
        environment: Mapping[str, str],
        output: IO[bytes] | int,
    ) -> None:
        self.args, self.returncode, self.stdin = command, None, None
        self.stdout, self.stderr, theirs = _streams(output)
        self._status, status = socket.socketpair()
        told = {"words": [*command[1:]], "cwd": str(cwd or Path.cwd()), "environment": dict(environment)}
        with open(os.devnull, "rb") as nothing:
            _parent().ask(told, [status.fileno(), nothing.fileno(), *theirs])
        status.close()
        for stream in theirs if output == subprocess.PIPE else ():
            os.close(stream)
        self.pid = int.from_bytes(self._status.recv(4), "little", signed=True)
        self._readers: list[tuple[threading.Thread, list[str]]] = []

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int.from_bytes(self._status.recv(4), "little", signed=True)
            self._status.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[Any, Any]:
        end = None if timeout is None else time.monotonic() + timeout
        if not self._readers:
            for stream in (self.stdout, self.stderr):
                found: list[str] = []
                thread = threading.Thread(target=_read, args=(stream, found), daemon=True)
                thread.start()
                self._readers.append((thread, found))
        for thread, _ in self._readers:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        out, err = ("".join(found) for _, found in self._readers)
        return (out, err) if self.stdout is not None else (None, None)

    def kill(self) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _streams(output: IO[bytes] | int) -> tuple[IO[str] | None, IO[str] | None, list[int]]:
    if not isinstance(output, int):
        return None, None, [output.fileno(), output.fileno()]
    (out, theirs), (err, also_theirs) = os.pipe(), os.pipe()
    return open(out), open(err), [theirs, also_theirs]


def _read(stream: IO[str] | None, found: list[str]) -> None:
    if stream is not None:
        with stream:
            found.append(stream.read())


# ---------------------------------------------------------------- the process that forks, from outside
class _Parent:
    """A process that waits for requests; it ends with this one."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        variables = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-X", "utf8=0", __file__, str(theirs.fileno())]
        subprocess.Popen(
            command,
            env=variables,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

    def ask(self, told: Mapping[str, Any], streams: Sequence[int]) -> None:
        data = json.dumps(told).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))]
        self._socket.sendmsg([len(data).to_bytes(4, "little")], rights)
        self._socket.sendall(data)


@cache
def _parent() -> _Parent:
    """One for all: its commands have one hash seed, and those of `make thorough` have their own."""
    return _Parent()


# ---------------------------------------------------------------- the process that forks, from inside
def _exactly(control: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        if not (piece := control.recv(size - len(found))):
            raise SystemExit
        found += piece
    return found


def _serve(control: socket.socket) -> dict[str, Any]:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that wait for commands are not waited for
    while True:
        size = array.array("i").itemsize * _STREAMS
        head, rights, *_ = control.recvmsg(4, socket.CMSG_SPACE(size))
        if not head:
            raise SystemExit
        told = json.loads(_exactly(control, int.from_bytes(head, "little")))
        streams = array.array("i", rights[0][2][:size]).tolist()
        if os.fork() == 0:
            control.close()
            if _become(streams):
                return told
        for stream in streams:
            os.close(stream)


def _become(streams: list[int]) -> bool:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = streams[0]
    child = os.fork()
    if child:
        for stream in streams[1:]:
            os.close(stream)
        os.write(status, child.to_bytes(4, "little", signed=True))
        _, ended = os.waitpid(child, 0)
        with suppress(BrokenPipeError):
            os.write(status, os.waitstatus_to_exitcode(ended).to_bytes(4, "little", signed=True))
        os._exit(0)
    os.setsid()
    for number, stream in enumerate(streams[1:]):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return True


def _run(told: Mapping[str, Any]) -> None:
    """As Python runs `-m MODULE` or `-c CODE`; whatever it raises is this process's end."""
    import runpy
    import types

    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["environment"])
    paths = told["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [told["cwd"], *filter(None, paths)]
    kind, what, *rest = told["words"]
    if kind == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *rest]
        main = types.ModuleType("__main__")
        main.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"] = main
        exec(compile(what, "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    import gc
    import importlib

    for library in _LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(library)
    gc.freeze()  # what is there already is not looked through again at the end of each command
    _run(_serve(socket.socket(fileno=int(sys.argv[1]))))
