"""Stores of this machine: a real S3 server in its own process, and a web server that fails on request."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.request import Request, urlopen

from tests.data.web_server import Server, served

KEYS = {
    "AWS_ACCESS_KEY_ID": "mykeyid",
    "AWS_SECRET_ACCESS_KEY": "averysecretkey",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Keys that a server which knows no keys takes."""


HUB = re.compile(r"^/datasets/owner/name/resolve/\w{40}/shards")
"""Where the hub has the files of a data set."""


class Bucket:
    """A bucket of a running S3 server."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.endpoint, self.name = endpoint, name
        self._ask("PUT", "")

    @property
    def environment(self) -> dict[str, str]:
        return {**KEYS, "AWS_ENDPOINT_URL": self.endpoint}

    def put(self, key: str, data: bytes) -> None:
        self._ask("PUT", key, data)

    def delete(self, key: str) -> None:
        self._ask("DELETE", key)

    def upload(self, folder: Path, prefix: str) -> str:
        for path in sorted(folder.iterdir()):
            self.put(f"{prefix}/{path.name}", path.read_bytes())
        return f"s3://{self.name}/{prefix}"

    def _ask(self, method: str, key: str, data: bytes | None = None) -> None:
        headers = {
            "Authorization": "AWS4-HMAC-SHA256 Credential=mykeyid/20260101/us-east-1/s3/aws4_request",
            "Content-Type": "application/octet-stream",
        }
        with urlopen(Request(f"{self.endpoint}/{self.name}/{key}", data, headers, method=method)) as answer:
            answer.read()


@contextmanager
def s3_server() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(words, env={**os.environ, **KEYS}, stdout=-3, stderr=-3) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    urlopen(f"{endpoint}/moto-api/").close()
                    break
                except OSError:
                    assert process.poll() is None, "the server ended"
                    assert time.monotonic() < deadline, "the server does not begin"
                    time.sleep(0.1)
            yield endpoint
        finally:
            process.kill()


class WebStore(Server):
    """The files of a folder, in ranges."""

    allow_reuse_address = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder = folder
        self.asked: list[tuple[str, str | None]] = []
        self.fault: Callable[[int], int | str | None] = lambda number: None
        self.tags = self.conditions = True
        self.commit = "a" * 40
        self.lock = threading.Lock()
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebStore

    def do_GET(self) -> None:
        said = self.headers.get("Range")
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append((self.path, said))
        fault = self.server.fault(number)
        if isinstance(fault, int):
            return self._say(fault, b"no")
        if isinstance(fault, str) and "://" in fault:
            return self._say(302, b"", {"Location": fault})
        if fault == "hung up":
            self.close_connection = True
            return None
        if self.path.startswith("/api/datasets/"):
            return self._say_of_hub(self.path.partition("?")[0])
        path = self.server.folder / HUB.sub("", unquote(self.path)).lstrip("/")
        if not path.is_file():
            return self._say(404, b"no such file")
        self._give(path.read_bytes(), re.fullmatch(r"bytes=(\d+)-(\d+)", said or ""), fault)
        return None

    def _say_of_hub(self, path: str) -> None:
        said: Any = {"id": "owner/name", "sha": self.server.commit, "private": False, "downloads": 0}
        if "/tree/" in path:
            files = sorted(self.server.folder.iterdir())
            sizes = [(file.name, file.stat().st_size) for file in files]
            said = [{"type": "file", "path": f"shards/{n}", "size": s, "oid": "0" * 40} for n, s in sizes]
        self._say(200, json.dumps(said).encode(), {"Content-Type": "application/json"})

    def _give(self, data: bytes, span: re.Match[str] | None, fault: str | None) -> None:
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {"ETag": tag} if self.server.tags else {}
        condition = self.headers.get("If-Match")
        if self.server.conditions and condition not in (None, tag):
            return self._say(412, b"")
        if span is None or fault == "whole":
            return self._say(200, data, headers)
        start, end = int(span[1]), min(int(span[2]) + 1, len(data))
        if start >= len(data):
            return self._say(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return self._say(206, data[start:end], headers, fault)

    def _say(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, fault: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault == "drip":
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def web_store(folder: Path, port: int = 0) -> AbstractContextManager[WebStore]:
    return served(WebStore(folder, port))
