"""How a server begins and ends as a command: where it cannot listen, and by which signal it is asked."""

import signal
import socket
import time
from pathlib import Path

import pytest

from tests.processes import XFM, run
from tests.serving.process import Served


@pytest.mark.parametrize("verb", ["serve", "demo"])
def test_a_busy_port_is_a_sentence(verb: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = other.getsockname()
        ended = run([*XFM, verb, "small", "--port", str(place[1])], 600)
    assert ended.status == 2
    (sentence,) = [line for line in ended.err.splitlines() if line]
    assert f"127.0.0.1:{place[1]} cannot be listened at" in sentence
    assert "address already in use" in sentence


def test_an_unknown_host_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("k" * 32)
    words = ["serve", "small", "--host", "no.such.host.invalid", "--keys", str(tmp_path / "keys")]
    ended = run([*XFM, *words], 600)
    assert ended.status == 2
    (sentence,) = ended.said()
    assert "no.such.host.invalid:8000 cannot be listened at" in sentence


@pytest.mark.parametrize(
    ("numbers", "status"), [([signal.SIGINT], 130), ([signal.SIGTERM], 0), ([signal.SIGINT] * 3, 130)]
)
def test_the_status_says_which_signal_ended_it(
    tmp_path: Path, numbers: list[signal.Signals], status: int
) -> None:
    with Served("small", tmp_path) as server:
        for number in numbers:
            server.signal(number)
            time.sleep(0.02)
        assert server.process.wait(600) == status
        lines = server.said().splitlines()
        assert lines[1:] == (["", "xfm: stopped"] if status else [])
