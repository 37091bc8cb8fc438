"""Whatever a parser does in the process of its own, here it is an answer or one sentence."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context

import psutil
import pytest

from tests.processes import run, wait_until
from xfm.core import sandbox
from xfm.core.errors import UserError
from xfm.core.sandbox import ParsingError, parsed


def echo(*texts: str) -> Iterator[bytes]:
    print("no answer")
    yield from (text.encode() for text in texts)


def refuse(kind: str) -> Iterator[bytes]:
    yield b"first"
    raise UserError("a: refused") if kind == "user" else ValueError("broken\nand more")


def take(mebibytes: int) -> Iterator[bytes]:
    yield str(len(bytearray(mebibytes << 20))).encode()


def stay() -> Iterator[bytes]:
    time.sleep(100)
    yield b""


def die(number: int) -> Iterator[bytes]:
    os.kill(os.getpid(), number)
    yield b""


def process() -> Iterator[bytes]:
    yield str(os.getpid()).encode()


def ask(name: str, *arguments: object) -> list[bytes]:
    return [*parsed(f"{__name__}:{name}", *arguments)]


ENDS = [
    (("refuse", "value"), ParsingError, r"^broken$"),
    (("refuse", "user"), UserError, r"^a: refused$"),
    (("take", 600), ParsingError, "more than 512 MiB of memory"),
    (("stay",), ParsingError, "more than 1 seconds"),
    (("die", 9), ParsingError, "ended with status -9"),
    (("echo", "x" * 5000), ParsingError, "5000 bytes at a time, more than 4000"),
]


@pytest.mark.parametrize(("asked", "error", "words"), ENDS, ids=range(len(ENDS)))
def test_what_ends_a_parser_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], error: type[Exception], words: str
) -> None:
    monkeypatch.setattr(sandbox, "MEMORY", 512 << 20)
    monkeypatch.setattr(sandbox, "SECONDS", 1 if asked[0] == "stay" else 60)
    monkeypatch.setattr(sandbox, "LARGEST", 4000)
    with pytest.raises(error, match=words):
        ask(*asked)
    assert ask("echo", "a", "ü\udcff".encode(errors="replace").decode()) == [b"a", "ü?".encode()]


def test_a_process_is_kept_for_the_next_file() -> None:
    first = ask("process")
    assert ask("process") == first
    broken = parsed(f"{__name__}:echo", *"abc")
    next(broken)
    broken.close()  # what it would have said next is not heard
    assert not psutil.pid_exists(int(first[0]))
    killed = psutil.Process(int(ask("process")[0]))
    killed.kill()
    while killed.is_running() and killed.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert ask("echo", "a") == [b"a"], "one that was killed while it waited is replaced"


def test_threads_and_forked_processes_have_processes_of_their_own() -> None:
    found: dict[int, list[bytes]] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: ask("echo", *"abc" * n)})) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [c.encode() for c in "abc" * n] for n in range(8)}
    mine = ask("process")
    with get_context("fork").Pool(1) as pool:
        assert pool.apply(ask, ("process",)) != mine
    assert ask("process") == mine


PROGRAM = """
import os, sys
from xfm.core.sandbox import parsed
[found] = parsed("tests.test_sandbox:process")
print(found.decode(), flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_nothing_stays_behind(how: str) -> None:
    ended = run([sys.executable, "-c", PROGRAM, how], 120, fresh=True)
    wait_until(lambda: not psutil.pid_exists(int(ended.out)))


def test_it_begins_with_little() -> None:
    code = "import sys, xfm.core.sandbox, xfm.data.parsers; print(sorted(sys.modules))"
    said = run([sys.executable, "-c", code], 120, fresh=True).out
    assert not {"torch", "numpy", "PIL", "pyarrow"} & {*map(str, eval(said))}
