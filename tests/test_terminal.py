"""Closed, full and narrow streams, full disks, limits and Ctrl-C: one sentence, a known status, work kept."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.alike import some, thorough
from tests.processes import XFM, Ended, Running
from xfm.cli.main import main
from xfm.core.errors import LONGEST_MESSAGE, UserError, explain


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = f'xfm() {{ "{sys.executable}" -m xfm "$@"; }}\n{line}'
    variables = os.environ | environment
    words = {"capture_output": True, "text": True, "errors": "surrogateescape", "timeout": 300}
    return subprocess.run(["bash", "-c", script], env=variables, check=False, **words)


def one_sentence(said: str) -> str:
    assert re.fullmatch(r"xfm: [^\n]+\n", said), said
    return said


def refused(line: str, **environment: str) -> str:
    done = shell(line, **environment)
    assert done.returncode == 2
    return one_sentence(done.stderr)


def written(line: str, **environment: str) -> str:
    done = shell(line, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# ---------------------------------------------------------------- streams
def test_a_reader_that_goes_is_no_error(model: Path) -> None:
    line = f"xfm info {model} {model} base base base | head -1; echo ${{PIPESTATUS[0]}}"
    assert written(line).splitlines()[-1] == "0"


@thorough
@pytest.mark.parametrize("words", some(["export MODEL OUT", "info MODEL"], 2))
def test_a_full_standard_output_is_said_and_what_was_saved_stays(words, model, tmp_path):
    line = words.replace("MODEL", str(model)).replace("OUT", str(tmp_path / "m.th"))
    assert "standard output cannot be written (No space" in refused(f"xfm {line} > /dev/full")
    assert ("export" in words) == (tmp_path / "m.th").exists()


@thorough
def test_standard_error_may_be_closed_or_full(model: Path, tmp_path: Path) -> None:
    assert "The checkpoint is in" in written(f"xfm export {model} {tmp_path / 'm.th'} 2>&-")
    done = shell("xfm info nowhere 2>&-")  # there is one place left to say it
    assert done.returncode == 2
    assert "nowhere does not exist" in done.stdout
    assert shell("xfm info nowhere 2> /dev/full").returncode == 2


@thorough
def test_standard_output_and_input_may_be_closed(model: Path, tmp_path: Path) -> None:
    """The first file that is opened must not take the place of the stream: prints would land in it."""
    done = shell(f"xfm export {model} {tmp_path / 'm.th'} >&- <&-")
    assert done.returncode == 0
    assert "standard output is closed" in one_sentence(done.stderr)
    assert main(["info", str(tmp_path / "m.th")]) == 0
    assert "standard output is closed" in refused("xfm --help >&-")  # whose work is what it prints


@pytest.mark.parametrize(
    "environment", some([{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], 2)
)
def test_streams_without_a_character_show_its_escape(environment, model, tmp_path):
    out = tmp_path / "Modèle ünd 模型.th"
    environment = environment | {"PYTHONCOERCECLOCALE": "0"}
    done = shell(f"xfm export {model} '{out}'; xfm info '{tmp_path}/nö'", **environment)
    assert out.exists()
    assert "The checkpoint is in" in done.stdout
    assert r"\u6a21" in done.stdout or r"\udce6" in done.stdout
    assert "Traceback" not in done.stderr
    one_sentence(done.stderr)


# ---------------------------------------------------------------- Ctrl-C
def interrupted(command: list[str], library: str, seconds: float = 0.0) -> Ended:
    with Running(command, fresh=True) as running:
        maps = Path(f"/proc/{running.process.pid}/maps")
        while running.process.poll() is None and library not in maps.read_text():
            time.sleep(0.002)
        time.sleep(seconds)
        running.signal(signal.SIGINT)
        return running.end()


@thorough
def test_ctrl_c_while_torch_is_imported(model: Path, tmp_path: Path) -> None:
    ended = interrupted([*XFM, "export", str(model), str(tmp_path / "m.th")], "libtorch")
    assert (ended.status, ended.out, ended.err) == (130, "", "\nxfm: interrupted\n")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("seconds", some([0.0, 0.06], 2))
def test_ctrl_c_while_options_are_read(seconds: float) -> None:
    ended = interrupted([sys.executable, "-m", "xfm", "pretrain", "--training.step", "1"], "_yaml", seconds)
    late = ended.status == 2 and "unknown option" in ended.err
    assert late or (ended.status, ended.err) == (130, "\nxfm: interrupted\n")


# ---------------------------------------------------------------- what the machine refuses
def test_a_message_is_short_whatever_a_file_holds() -> None:
    """The beginning says where it is, the end what to do."""
    said = str(UserError(f"a.csv:3: the label is {'x' * 10**6}; mend the row"))
    assert len(said) < LONGEST_MESSAGE
    assert said.startswith("a.csv:3: the label is xxx")
    assert said.endswith("; mend the row")
    assert str(UserError("a\x1b[31m\ud800\nb")) == "a\\x1b[31m\\ud800\\nb"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "memory ran out; take smaller batches"),
        (ImportError("libx.so: failed to map segment from shared object"), "memory ran out (libx.so"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "memory ran out (CUDA out of memory"),
        (OSError(28, "No space left on device"), "out/m: the disk is full; free some space"),
        (OSError(24, "Too many open files"), "out/m: too many files are open; raise the limit (`ulimit -n"),
        (PermissionError(13, "Permission denied", "f"), "f: it may not be opened; change its permissions"),
        (OSError(30, "Read-only file system", "f"), "f: that disk cannot be written; name a path on another"),
    ],
)
def test_what_the_machine_refuses_has_a_remedy(error: Exception, sentence: str) -> None:
    assert (explain(error, "out/m") or "").startswith(sentence)


def test_an_internal_error_keeps_its_traceback(tmp_path: Path) -> None:
    """A package that is broken is nothing that any of our checks expects."""
    (tmp_path / "docstring_parser.py").write_text("raise LookupError('half installed\\nsecond line')")
    environment = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}", "TMPDIR": str(tmp_path)}
    said = refused("xfm prepare", **environment)
    found = re.search(r"internal error: LookupError: half installed; .* (\S+\.txt), or", said)
    assert found
    assert "please report it" in said
    kept = Path(found[1]).read_text()
    assert "Traceback" in kept
    assert "second line" in kept
