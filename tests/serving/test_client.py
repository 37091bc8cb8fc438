"""The client beside servers that are not ours."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.refusals import expect_refusal
from xfm.serving.client import Client


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A server that gives one answer to all; its address, and the keys that it was sent."""
    keys: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append(self.headers.get("authorization", ""))
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", keys
        finally:
            server.shutdown()


def test_a_key_goes_to_nobody_else() -> None:
    with (
        answering(200, b"{}") as (other, keys),
        answering(302, location=f"{other}/x") as (address, own),
        expect_refusal("status 302", f"{other}/x"),
    ):
        Client(address, key="k" * 16).search("a cat")
    assert own == [f"Bearer {'k' * 16}"]
    assert keys == []


def test_an_answer_that_ends_early_is_a_sentence() -> None:
    with answering(200, b'{"hits"', content_length="100") as (address, _), expect_refusal("cannot be asked"):
        Client(address).search("a cat")
