"""How a server begins and ends as a command: where it cannot listen, and by which signal it is asked."""

import signal
import socket
import time
from pathlib import Path

import pytest

from tests.alike import some, thorough
from tests.processes import XFM, run
from tests.serving.process import Served
from xfm.cli.serve import read_keys


@pytest.mark.parametrize("verb", some(["serve", "demo"], 2))
def test_a_busy_port_is_a_sentence(verb: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = other.getsockname()
        ended = run([*XFM, verb, "small", "--port", str(place[1])], 600)
    assert ended.status == 2
    (sentence,) = [line for line in ended.err.splitlines() if line]
    assert f"127.0.0.1:{place[1]} cannot be listened at" in sentence
    assert "address already in use" in sentence


@thorough
@pytest.mark.parametrize(("numbers", "status"), [([signal.SIGINT], 130), ([signal.SIGTERM], 0)])
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


ONE, MARK = b"k" * 24, b"\xef\xbb\xbf"


@pytest.mark.parametrize("data", [b"  # of production\n\t" + ONE, MARK + b"#\r\n\r\n" + ONE])
def test_keys_are_read_without_comments_and_marks(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "keys").write_bytes(data)
    assert read_keys(str(tmp_path / "keys")) == [ONE.decode()]
