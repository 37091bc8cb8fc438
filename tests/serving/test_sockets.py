"""What no HTTP client sends: heads that trickle, bodies without end, two lengths, other protocols."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.alike import thorough
from tests.serving.process import Served

BODY = b'{"input": "a"}'
HOST = b"Host: localhost\r\nContent-Type: application/json\r\n"
POST = b"POST /v1/embeddings HTTP/1.1\r\n" + HOST
GOOD = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
GET = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
SECONDS = 1.0
"""For a head, and for a body, of the server that is asked here."""
KEY = "k" * 20


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = {"header_seconds": SECONDS, "body_seconds": SECONDS, "request_timeout": 5, "connections": 40}
    options = [word for name, value in limits.items() for word in (f"--{name}", str(value))]
    with Served(model, tmp_path_factory.mktemp("sockets"), options) as running:
        yield running
        assert running.alive()
        assert "Traceback" not in running.said()


@pytest.fixture(scope="module")
def locked(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(model, tmp_path_factory.mktemp("locked"), extra={"XFM_API_KEYS": KEY}) as running:
        yield running


def talk(server: Served, sent: bytes, seconds: float = 10) -> bytes:
    """All that comes back until the other side closes, or is silent for half a second after an answer."""
    with socket.create_connection(server.place, timeout=seconds) as one:
        with suppress(OSError):  # refused before all of it was sent
            one.sendall(sent)
        return heard(one)


def heard(one: socket.socket) -> bytes:
    parts = []
    with suppress(OSError):
        while part := one.recv(1 << 16):
            parts.append(part)
            one.settimeout(0.5)
    return b"".join(parts)


def statuses(answer: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1\.1 (\d{3})", answer)]


def chunked(*parts: bytes) -> bytes:
    return POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(parts)


RAW = {
    "good": (GOOD, [200]),
    "newest": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [404, 400]),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200, [400]),
    "nothing-but-zeros": (b"\0" * 5000, [400]),
    "two-hosts": (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", [400]),
    "garbage-behind": (GOOD + b"\0\1\2 garbage\r\n\r\n", [200, 400]),
    "shorter-than-it-says": (POST + b"Content-Length: 400\r\n\r\n" + BODY, [408]),
    "negative-length": (POST + b"Content-Length: -5\r\n\r\n" + BODY, [400]),
    "length-of-a-galaxy": (POST + b"Content-Length: 99999999999999999999\r\n\r\n" + BODY, [413]),
    "two-lengths": (POST + b"Content-Length: 14\r\nContent-Length: 20\r\n\r\n" + BODY, [400]),
    "length-and-chunks": (
        POST + b"Content-Length: 14\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
        [400],
    ),
    "chunks": (chunked(b"e\r\n" + BODY + b"\r\n0\r\n\r\n"), [200]),
    "chunk-without-size": (chunked(b"x\r\n"), [400]),
    "chunks-without-end": (chunked(b"1\r\n{\r\n" * 50), [408]),
    "chunks-beyond-the-limit": (chunked((b"100000\r\n" + b"x" * (1 << 20) + b"\r\n") * 40), [413], [408]),
    "long-line": (b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n" + HOST + b"\r\n", [400]),
    "long-header": (b"GET /health HTTP/1.1\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n", [400]),
    "many-headers": (
        b"GET /health HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(20_000)) + b"\r\n",
        [400],
    ),
    "websocket": (
        b"GET /health HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + HOST + b"\r\n",
        [200],
    ),
    "asks-first": (POST + b"Expect: 100-continue\r\nContent-Length: 14\r\n\r\n" + BODY, [100, 200]),
}


@pytest.mark.parametrize("name", RAW)
def test_bytes_get_their_status_and_the_server_lives(server: Served, name: str) -> None:
    sent, *expected = RAW[name]  # a slow machine may not come as far as the limit
    assert statuses(talk(server, sent)) in expected
    assert server.alive()


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_head_that_trickles_is_given_up(server: Served, begun: bytes) -> None:
    began = time.monotonic()
    with socket.create_connection(server.place, timeout=10) as one, suppress(OSError):
        one.sendall(begun)
        while time.monotonic() - began < 8:
            one.sendall(b"a")
            time.sleep(0.1)
    assert time.monotonic() - began < SECONDS + 3


def test_a_body_that_trickles_is_given_up(server: Served) -> None:
    began = time.monotonic()
    with socket.create_connection(server.place, timeout=10) as one:
        one.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        with suppress(OSError):
            while time.monotonic() - began < 8:
                one.sendall(b" ")
                time.sleep(0.1)
        assert time.monotonic() - began < 2 * SECONDS + 3


def test_a_refused_body_is_not_read_for_ever(server: Served) -> None:
    began, part = time.monotonic(), b"1000\r\n" + b"x" * 4096 + b"\r\n"
    with socket.create_connection(server.place, timeout=10) as one, suppress(OSError):
        one.sendall(chunked((b"100000\r\n" + b"x" * (1 << 20) + b"\r\n") * 33))
        while time.monotonic() - began < 15:
            one.sendall(part)
            time.sleep(0.02)
    assert time.monotonic() - began < 10


@thorough
def test_an_answer_that_nobody_takes_is_given_up(server: Served) -> None:
    """A client asks for megabytes, and reads none of them."""
    ask = b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(server.place)
        one.settimeout(300)  # for one stalled send
        with pytest.raises(ConnectionError):
            send_on(one, ask)


def send_on(one: socket.socket, sent: bytes) -> None:
    while True:  # a slow machine takes any number of them before it closes
        one.sendall(sent)


def test_connections_beyond_the_limit_are_closed(server: Served) -> None:
    with ExitStack() as stack:
        many = [stack.enter_context(socket.create_connection(server.place, 10)) for _ in range(100)]
        time.sleep(0.3)
        assert sum(map(is_closed, many)) >= 60
    time.sleep(0.3)
    assert server.alive()


def is_closed(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("localhost@evil.example", 403),
    ],
)
def test_a_name_that_was_made_to_mean_this_machine_is_refused(server: Served, host: str, status: int) -> None:
    assert server.ask("/v1/models", headers={"host": host})[0] == status
    assert server.ask("/health", headers={"host": host})[0] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:8000", 200), ("http://localhost", 403), ("http://evil.example", 403), ("null", 403)],
)
def test_what_pages_of_other_sites_send_is_refused(server: Served, origin: str, status: int) -> None:
    """A form of any page can send a request to this machine, without asking before."""
    headers = {"host": "localhost:8000", "origin": origin, "content-type": "text/plain"}
    told = {"model": "small", "input": "a cat"}
    found = server.ask("/v1/embeddings", told, headers)
    assert (found[0] == 403) == (status == 403), found
    assert server.ask("/v1/models", headers=headers)[0] == status


@pytest.mark.parametrize(
    ("lines", "path", "status"),
    [
        (["authorization: bearer " + KEY], "/v1/models", 200),
        (["X-Api-Key: " + KEY], "/v1/models", 200),
        (["Host: evil.example", "Authorization: Bearer " + KEY], "/v1/models", 400),
        (["Authorization: Bearer " + KEY, "Authorization: Bearer x"], "/v1/models", 401),
        (["Authorization: Basic " + KEY], "/v1/models", 401),
        (["Authorization: Bearer \xff\xfe"], "/v1/models", 401),
        ([], f"/v1/models?key={KEY}", 401),
        ([], "/metrics", 401),
        ([], "//health", 401),
        ([], "/health/../v1/models", 401),
        ([], "/health", 200),
    ],
)
def test_nothing_goes_round_the_key(locked: Served, lines: list[str], path: str, status: int) -> None:
    head = "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *lines, "", ""])
    assert statuses(talk(locked, head.encode("latin-1"))) == [status]
