"""Two processes and one folder, and what a process says of where it runs."""

import json
import os
import signal
import socket
import sys

import pytest

from tests.alike import thorough
from tests.processes import HOLD, ROOT, Running, run
from xfm.core.errors import UserError
from xfm.core.locks import LOCK_FILE, locked


@pytest.mark.parametrize("beside", [False, True])
def test_the_second_is_told_who_is_first(tmp_path, beside):
    folder = tmp_path / "run"
    with Running([*HOLD, str(folder), *(["beside"] if beside else [])]) as first:
        first.wait_until((tmp_path / "run.ready").exists)
        words = rf"run is in use by process {first.process.pid} on"
        with pytest.raises(UserError, match=words) as caught, locked(folder, beside):
            pass
        assert socket.gethostname() in str(caught.value)
        first.signal(signal.SIGKILL)
        first.end()
    with locked(folder, beside):  # the kernel has released it
        pass
    assert not list(tmp_path.rglob(f"*{LOCK_FILE}"))


def test_nothing_stays_of_a_lock(tmp_path):
    with locked(tmp_path / "a" / "b"):
        assert json.loads((tmp_path / "a" / "b" / LOCK_FILE).read_text())["process"] == os.getpid()
        with locked(tmp_path / "a" / "b"):  # what holds a folder may call what holds it, too
            pass
        assert (tmp_path / "a" / "b" / LOCK_FILE).exists()
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "a"):
        (tmp_path / "a" / "result").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["result"]


@thorough
def test_many_that_come_and_go(tmp_path):
    """Each adds one to a number while it holds the folder; none is lost."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from xfm.core.errors import UserError\n"
        "from xfm.core.locks import locked\n"
        "folder, done = Path(sys.argv[1]), 0\n"
        "while done < 20:\n"
        "    try:\n"
        "        with locked(folder):\n"
        "            number = int((folder / 'number').read_text())\n"
        "            time.sleep(0.001)\n"
        "            (folder / 'number').write_text(str(number + 1))\n"
        "            done += 1\n"
        "    except UserError:\n"
        "        time.sleep(0.001)\n"
    )
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", script, str(tmp_path)]
    with Running(command, ROOT) as a, Running(command, ROOT) as b, Running(command, ROOT) as c:
        for one in (a, b, c):
            assert one.end().status == 0
    assert (tmp_path / "number").read_text() == "60"
    assert run(["true"]).left == []


def test_a_lock_file_leads_nowhere_else(tmp_path):
    """A folder from the network may hold a link under the lock's name: what it leads to is not emptied."""
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    folder = tmp_path / "run"
    folder.mkdir()
    lock = folder / LOCK_FILE
    makers = (
        lambda: lock.symlink_to(precious),
        lambda: lock.symlink_to(tmp_path / "new.txt"),
        lambda: lock.hardlink_to(precious),
        lambda: os.mkfifo(lock),
        lock.mkdir,
    )
    for make in makers:
        make()
        words = f"{LOCK_FILE} is a link, a folder or a pipe.*remove it"
        with pytest.raises(UserError, match=words), locked(folder):
            pass
        assert precious.read_text() == "years of work"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["precious.txt", "run"]
        lock.rmdir() if lock.is_dir() else lock.unlink()
