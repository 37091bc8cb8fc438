"""Addresses in requests, in a network where an allowed host is really public; see `fetching.py`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.alike import thorough
from tests.processes import ROOT, can_unshare, run

FETCHED = {"good", "redirect-to-itself"}
"""All others are refused; some of them by name, some by address, some by what lies there."""


@thorough
def test_only_public_pictures_of_allowed_hosts_are_fetched(model: Path) -> None:
    if not can_unshare() or not shutil.which("ip"):
        pytest.skip("needs root, for a network of its own, and ip")
    if subprocess.run(["unshare", "-n", "ip", "link", "set", "lo", "up"], capture_output=True).returncode:
        pytest.skip("needs the right to set up a network")
    command = ["unshare", "-n", "-m", sys.executable, "-m", "tests.serving.fetching", str(model)]
    ended = run(command, 240, ROOT)
    assert ended.status == 0, ended.err[-3000:]
    told = json.loads(ended.out.splitlines()[-1])
    assert told["alive"]
    assert told["asked"] == []  # no private place was even connected to
    for name, (status, same, message) in told["answers"].items():
        assert (status, same) == ((200, True) if name in FETCHED else (422, False)), (name, message)
    reasons = {name: message for name, (_, _, message) in told["answers"].items()}
    assert "not a public address" in reasons["private-name"]
    assert "not a public address" in reasons["name-of-both"]
    assert "none of the hosts" in reasons["redirect-to-another-public"]
