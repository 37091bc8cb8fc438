"""`xfm serve` as a process of its own: started, asked over sockets, measured, killed."""

import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import psutil

from tests.processes import XFM, Running
from tests.serving.client import ask

_LISTENS = re.compile(r"Serving .* at (http://\S+);")


class Served(Running):
    """A server that listens, as a context; at its end it is gone."""

    def __init__(
        self,
        model: Path | str,
        folder: Path,
        options: Sequence[str] = (),
        extra: Mapping[str, str | None] | None = None,
    ) -> None:
        command = [*XFM, "serve", str(model), "--port", "0", *options]
        super().__init__(command, None, extra or {}, folder / f"serve-{time.monotonic_ns()}.txt")
        self.address = ""

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.wait_until(self._listens, 600)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _listens(self) -> bool:
        found = _LISTENS.search(self.said())
        self.address = found[1] if found else ""
        return bool(found)

    def said(self) -> str:
        assert self.output is not None
        return self.output.read_text("utf-8", "replace")

    @property
    def place(self) -> tuple[str, int]:
        parts = urlsplit(self.address)
        return parts.hostname or "", parts.port or 0

    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def alive(self) -> bool:
        return self.process.poll() is None and self.ask("/health")[0] == 200

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 60) -> int:
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.said()[-2000:]}") from None

    def ask(self, route: str, told: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Status and content of an answer; bytes are sent as they are, other values as JSON."""
        return ask(self.address, route, told, **(headers or {}))[:2]
