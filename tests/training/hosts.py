"""Two hosts on one machine: network name spaces that a cable joins, each with an address and nothing else."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

DEVICE = "xfm0"
"""Name of the network card in both."""


@dataclass(frozen=True)
class Host:
    """A network name space.

    Attributes:
        name: of it.
        address: of its card.
    """

    name: str
    address: str

    def command(self, words: list[str]) -> list[str]:
        """A command that sees the network of this host alone."""
        return ["ip", "netns", "exec", self.name, *words]


def _ip(*words: str) -> str:
    """What went wrong with a command of `ip`; nothing if it worked."""
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
    except OSError as error:
        return f"ip cannot run ({error.strerror})"
    return "" if done.returncode == 0 else f"ip {' '.join(words)}: {done.stderr.strip() or done.returncode}"


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host] | str]:
    """Two hosts, or why there are none; they are gone at the end, whatever happens."""
    mark = uuid.uuid4().hex[:6]
    hosts = Host(f"xfm-{mark}-a", "10.77.0.1"), Host(f"xfm-{mark}-b", "10.77.0.2")
    first, second = (host.name for host in hosts)
    steps = [
        *(["netns", "add", host.name] for host in hosts),
        ["link", "add", DEVICE, "netns", first, "type", "veth", "peer", "name", DEVICE, "netns", second],
        *(["-n", host.name, "address", "add", f"{host.address}/24", "dev", DEVICE] for host in hosts),
        *(["-n", host.name, "link", "set", device, "up"] for host in hosts for device in ("lo", DEVICE)),
    ]
    try:
        yield next(filter(None, (_ip(*step) for step in steps)), None) or hosts
    finally:
        for host in hosts:  # the cable goes with its ends
            _ip("netns", "delete", host.name)
