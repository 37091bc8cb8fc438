"""Loader processes speak of their own troubles only."""

import os
import socket
import struct
import time
from multiprocessing.reduction import DupFd

import pytest

from tests.data.conftest import batches
from xfm.data.workers import load_steps


@pytest.mark.parametrize("how", ["reset", "closed"])
def test_a_connection_that_breaks_off_is_no_trouble_of_a_loader(corpus, tmp_path, capfd, how):
    """The training process breaks off when another loader has died, wherever it is."""
    (batch,) = batches(corpus.config(), 0, 1)
    told = tmp_path / "address"

    def build(step):
        if not told.exists():
            with open(os.devnull) as anything:
                told.write_text(DupFd(anything.fileno())._id[0])
        return batch

    stream = load_steps(build, range(4), workers=1, timeout=20, pin=False)
    next(stream)
    with socket.socket(socket.AF_UNIX) as broken:
        broken.connect(told.read_text())
        if how == "reset":
            broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.5)
    assert len(list(stream)) == 3
    assert capfd.readouterr().err == ""
