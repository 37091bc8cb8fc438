"""A web server of this machine that behaves, and misbehaves, on request."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

PICTURE = b"picture " * 100
Served = TypeVar("Served", bound=ThreadingHTTPServer)


class Handler(BaseHTTPRequestHandler):
    """What a path does is in its name."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        what = path.strip("/")
        if leads := {"loop": "/loop", "hops": "/picture", "away": query}.get(what):
            self._answer(301 if what == "hops" else 302, b"", {"Location": leads})
        elif what == "missing":
            self._answer(404, b"gone")
        elif what == "unannounced":  # as long as the reader likes, without a length
            self.send_response(200)
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b"x" * 10_000)
        elif what in ("slow", "slow-header"):
            if what == "slow":
                self._answer(200, b"", {"Content-Length": "100000"})
            for _ in range(1000):
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.05)
        elif what == "short":
            self._answer(200, b"abc", {"Content-Length": "1000"})
        else:
            self._answer(200, PICTURE, {"Content-Length": str(len(PICTURE))})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that has hung up is what most tests are about."""


@contextmanager
def served(server: Served) -> Iterator[Served]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving(certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """The address of a running server; with a certificate and its key, one that speaks TLS."""
    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with served(server):
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
