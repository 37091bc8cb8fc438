"""Processes that are started again over one store find one another, and none of those that have ended."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from tests.processes import Running, run
from tests.training.faults import command
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


def test_a_wait_is_said_and_its_result_returned(monkeypatch, caplog):
    monkeypatch.setattr("xfm.training.distributed.PATIENCE", 0.01)
    for name, value in {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "there", "MASTER_PORT": "5"}.items():
        monkeypatch.setenv(name, value)
    assert patiently(lambda: time.sleep(0.2) or "met", timedelta(minutes=2)) == "met"
    assert "process 1 waits at there:5 for the others of 3, for 2 minutes at most" in caplog.text


def test_who_meets_at_once_says_nothing(caplog):
    assert patiently(lambda: 7, timedelta(minutes=2)) == 7
    with pytest.raises(RuntimeError, match="nobody came"):
        patiently(_nobody, timedelta(minutes=2))
    assert not caplog.text


def _nobody() -> None:
    raise RuntimeError("nobody came")


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
