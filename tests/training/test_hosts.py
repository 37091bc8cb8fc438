"""Processes on two hosts, which have nothing in common but a cable and the folders, train as two on one."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.processes import TORCHRUN, Ended, Running, run
from tests.training.faults import command
from tests.training.hosts import DEVICE, Host, two_hosts

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


def losses(folder: Path) -> list[dict[str, Any]]:
    """What each step gave, without times."""
    lines = map(json.loads, (folder / "run" / "log.jsonl").read_text().splitlines())
    kept = ("step", "loss", "grad_norm", "lr")
    return [{name: line[name] for name in kept if name in line} for line in lines if "event" not in line]


@pytest.mark.slow
def test_two_hosts_train_as_two_processes_of_one(
    hosts: tuple[Host, Host], corpus: Path, tmp_path: Path
) -> None:
    done = run([*TORCHRUN, "2", *command(corpus, tmp_path / "one", steps=STEPS)[1:]], 240)
    assert done.status == 0, done.err[-3000:]
    for ended in on_both(hosts, command(corpus, tmp_path / "two", steps=STEPS)[1:]):
        assert ended.status == 0, ended.err[-3000:]
        assert ended.left == []
    one, two = (losses(tmp_path / name) for name in ("one", "two"))
    assert [line["step"] for line in two] == [*range(1, STEPS + 1)]
    assert one == two
    weights = [tmp_path / name / "run" / "model" / "model.safetensors" for name in ("one", "two")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_host_sees_only_the_other(hosts: tuple[Host, Host]) -> None:
    """Else the processes might have met by the machine's own network."""
    first, second = hosts
    code = (
        "import errno, psutil, socket, sys\n"
        "found = (one for card in psutil.net_if_addrs().values() for one in card)\n"
        "print(*sorted(one.address for one in found if one.family == socket.AF_INET))\n"
        "print(errno.errorcode[socket.socket().connect_ex((sys.argv[1], 9))])\n"
    )
    ended = run(first.command([sys.executable, "-c", code, second.address]), 60)
    assert ended.out.splitlines() == [f"{first.address} 127.0.0.1", "ECONNREFUSED"], ended.err
