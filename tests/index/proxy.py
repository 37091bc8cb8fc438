"""A relay of TCP that goes silent, or cuts its connections: what a stalled server or a network does."""

import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Relays to the server of an address; as a context it ends at the end.

    Args:
        address: of the server, `postgresql://USER@HOST:PORT/DATABASE`.

    Attributes:
        address: by which the server is reached through it.
        silent: set, it takes everything and passes nothing on, in connections that are there and in new ones.
        silent_at: bytes of a client at which it goes silent by itself.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._server = parts.hostname or "", parts.port or 5432
        self._listening = socket.create_server(("127.0.0.1", 0))
        own = f"{parts.username}@127.0.0.1:{self._listening.getsockname()[1]}"
        self.address = parts._replace(netloc=own).geturl()
        self.silent, self.silent_at = threading.Event(), b""
        self._open = list[socket.socket]()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listening.close()
        self.cut()

    def cut(self) -> None:
        """End the connections that are there, as a server does that starts again."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                threading.Thread(target=self._relay, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._relay, args=(server, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, to: socket.socket, asks: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if asks and self.silent_at and self.silent_at in data:
                    self.silent.set()
                if not self.silent.is_set():
                    to.sendall(data)
        with suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)
