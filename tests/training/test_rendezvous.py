"""Processes that are started again, or on two hosts, find one another and none of those that have ended."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from tests.alike import thorough
from tests.processes import TORCHRUN, Ended, Running, run
from tests.training.faults import command
from tests.training.hosts import DEVICE, Host, two_hosts
from tests.training.support import logged_losses
from xfm.training.distributed import RESTARTS, name_of_round, patiently

SECONDS = timedelta(seconds=20)


@pytest.fixture
def store():
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=SECONDS)


def names(store: TCPStore, count: int, ranks: range | None = None, timeout: timedelta = SECONDS) -> list[str]:
    """What the processes of a round are told, each with a connection of its own."""

    def ask(rank: int) -> str:
        own = TCPStore("127.0.0.1", store.port, is_master=False, wait_for_workers=False, timeout=timeout)
        return name_of_round(own, rank, count, timeout)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, ranks or range(count)))


def test_a_round_has_one_name_and_no_other_round_has_it(store):
    rounds = [names(store, 3) for _ in range(3)]
    assert [len(set(found)) for found in rounds] == [1, 1, 1]
    assert len({found[0] for found in rounds}) == 3


def test_who_asked_and_ended_is_not_waited_for_and_does_not_count(store):
    short = timedelta(seconds=0.3)
    with pytest.raises(RuntimeError):
        names(store, 2, range(1, 2), short)
    with pytest.raises(RuntimeError, match="1 of 2 did not come"):
        names(store, 2, range(1), short)
    assert len(set(names(store, 2))) == 1


@thorough
@pytest.mark.slow
def test_a_machine_that_did_not_count_a_restart_goes_on_with_the_others(corpus, tmp_path, store):
    """Its agent saw another machine come anew; that one's agent counts from the beginning, or further."""
    words = command(corpus, tmp_path, steps=4, save_every=2, workers=0, timeout=0.5)
    meeting = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": "2",
    }
    folder = tmp_path / "run"
    for counted in (0, 1):
        with Running(words, None, meeting | of(1, counted)) as other:
            ended, beside = run(words, 120, None, **meeting, **of(0, 0)), other.end(60)
        assert (ended.status, beside.status) == (0, 0), ended.err + beside.err
    assert "Resuming from" in (folder / "log.jsonl").read_text()
    assert [*logged_losses(folder)] == [1, 2, 3, 4]


def of(rank: int, restarts: int) -> dict[str, str]:
    """What torchrun tells a process."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), RESTARTS: str(restarts)}


def test_a_wait_hears_signals(monkeypatch):
    """Those of a call that holds no lock of Python and looks at no signal, as torch's."""
    monkeypatch.setattr("xfm.training.distributed.PATIENCE", 0.01)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    began, forever = time.monotonic(), threading.Event()
    with pytest.raises(KeyboardInterrupt):
        patiently(forever.wait, timedelta(minutes=2))
    forever.set()
    signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 60


PORT = 29577
STEPS = 3


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as found:
        if isinstance(found, str):
            pytest.skip(f"there are no two network name spaces here: {found}")
        yield found


def on_both(hosts: tuple[Host, Host], words: list[str], seconds: float = 240) -> list[Ended]:
    """A command of torchrun's on both hosts, a process each; they meet at the address of the first."""
    with ExitStack() as stack:
        running = []
        for rank, host in enumerate(hosts):
            told = {
                **{"nnodes": 2, "nproc-per-node": 1, "node-rank": rank, "local-addr": host.address},
                **{"rdzv-backend": "c10d", "rdzv-endpoint": f"{hosts[0].address}:{PORT}", "rdzv-id": "two"},
                # A name space has its machine's name: an address tells nobody that it is his own.
                "rdzv-conf": f"is_host={1 - rank},join_timeout=100",
            }
            options = [word for name, value in told.items() for word in (f"--{name}", str(value))]
            python = [sys.executable, "-m", "torch.distributed.run", *options, *words]
            environment = {"GLOO_SOCKET_IFNAME": DEVICE}
            running.append(stack.enter_context(Running(host.command(python), extra=environment)))
        return [one.end(seconds) for one in running]


@thorough
@pytest.mark.slow
def test_two_hosts_train_as_two_processes_of_one(hosts, corpus, tmp_path):
    done = run([*TORCHRUN, "2", *command(corpus, tmp_path / "one", steps=STEPS)[1:]], 240)
    assert done.status == 0, done.err[-3000:]
    for ended in on_both(hosts, command(corpus, tmp_path / "two", steps=STEPS)[1:]):
        assert ended.status == 0, ended.err[-3000:]
        assert ended.left == []
    one, two = (logged_losses(tmp_path / name / "run") for name in ("one", "two"))
    assert [*two] == [*range(1, STEPS + 1)]
    assert one == two
    weights = [tmp_path / name / "run" / "model" / "model.safetensors" for name in ("one", "two")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
