"""What becomes of the processes of a training when something goes wrong, tried on real ones."""

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.alike import thorough
from tests.processes import REAL_TORCHRUN, ROOT, TORCHRUN, Running, run
from tests.training.faults import ADVANCE, arguments, command, mounted, sentence, trains, with_fault
from tests.training.support import logged_losses
from xfm.cli.main import main
from xfm.core.errors import UserError
from xfm.training import distributed
from xfm.training.checkpoint import latest_checkpoint, list_checkpoints
from xfm.training.failures import explaining_failures


# ------------------------------------------------------------------ the end of a training is the loaders' end
@thorough
def test_an_unexpected_exception_ends_everything(corpus, tmp_path):
    words = arguments(corpus, tmp_path, workers=2)
    assert "ZeroDivisionError" in sentence(run(with_fault(ADVANCE.format("1 / 0"), words)))


def test_loaders_end_with_a_training_that_is_killed(corpus, tmp_path):
    """They hang at a record, too: nothing but a signal that cannot be handled ends those."""
    slow = "import time\nfrom xfm.data import streams\nstreams.to_sample = lambda *a: time.sleep(600)\n"
    with Running(with_fault(slow, arguments(corpus, tmp_path, workers=2))) as running:
        running.wait_until(lambda: len(running.children()) == 2)
        running.signal(signal.SIGKILL)
        ended = running.end()
    assert ended.status == -signal.SIGKILL
    assert ended.left == []


# ------------------------------------------------------------------ little shared memory
@thorough
@pytest.mark.slow
@pytest.mark.usefixtures("may_mount")
def test_without_shared_memory_the_numbers_are_the_same(corpus, tmp_path):
    for name, size in (("much", "1g"), ("little", "100k")):
        words = command(corpus, tmp_path / name, steps=6, workers=2)
        ended = run(mounted(Path("/dev/shm"), size, words))
        assert ended.status == 0, ended.err
        assert len(ended.err.splitlines()) == (name != "much"), ended.err
        assert ("/dev/shm" in ended.err) == (name != "much")
        assert ended.left == []
    losses = [logged_losses(tmp_path / name / "run") for name in ("much", "little")]
    assert losses[0] == losses[1]


# ------------------------------------------------------------------ a loader that hangs
HANGS = (
    "import time\n"
    "from xfm.data import streams\n"
    "real = streams.to_sample\n"
    "def hang(record, *rest):\n"
    "    if record.origin.key == '00007':\n"
    "        time.sleep(600)\n"
    "    return real(record, *rest)\n"
    "streams.to_sample = hang\n"
)


@thorough
@pytest.mark.slow
def test_a_hanging_record_does_not_keep_a_run_from_ending(corpus, tmp_path):
    words = arguments(corpus, tmp_path, workers=1, steps=30)
    fault = f"{HANGS}from xfm.training import failures\nfailures.PATIENCE = 1.0\n"
    with Running(with_fault(fault, words)) as running:
        running.wait_until(lambda: trains(tmp_path))
        before = 0
        while (now := len((tmp_path / "run" / "log.jsonl").read_text())) != before:
            before = now
            time.sleep(0.7)
        running.signal(signal.SIGINT, group=True)
        assert "--resume" in sentence(running.end(), 130)
    assert list_checkpoints(tmp_path / "run")


@thorough
def test_a_hanging_loader_is_one_sentence(corpus, tmp_path):
    words = arguments(corpus, tmp_path, "--data.timeout", "2", workers=1, steps=30)
    said = sentence(run(with_fault(HANGS, words)))
    assert "data.timeout" in said


# ---------------------------------------------------------------- several processes, started by torchrun
@pytest.mark.parametrize("words", [["evaluate", "m"], ["prepare", "--out", "w"]], ids=lambda words: words[0])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_commands_for_one_process_refuse_several(tmp_path, monkeypatch, capsys, words, rank):
    """As torchrun tells a process; only the first one says it."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, value)
    assert main(words) == 2
    assert not any(tmp_path.iterdir())
    said = f"xfm: xfm {words[0]} runs in one process, and torchrun has started 2"
    assert capsys.readouterr().err.startswith(said) if rank == "0" else not capsys.readouterr().err


def test_processes_that_are_none_or_do_not_find_one_another(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "two")
    assert main(["evaluate", "m"]) == 2
    assert "WORLD_SIZE is 'two'" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(arguments(corpus, tmp_path, steps=2)) == 2
    assert "start them with torchrun" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def ranks(running: Running) -> list[psutil.Process]:
    """The processes that torchrun has started, by rank; not their loaders."""
    found = [one for one in running.children() if one.ppid() == running.process.pid]
    return sorted(found, key=lambda one: int(one.environ().get("RANK", one.pid)))


@thorough
@pytest.mark.slow
def test_a_rank_that_is_killed_is_one_sentence_of_each_other(corpus, tmp_path):
    words = command(corpus, tmp_path, workers=1, save_every=2)[1:]
    with Running([*TORCHRUN, "2", *words]) as running:
        running.wait_until(lambda: trains(tmp_path, 3), 600)
        first, second = ranks(running)
        running.lose(second, first)
        ended = running.end(600)
    said = [line for line in ended.err.splitlines() if line.startswith("xfm: ")]
    assert len(said) == 1, ended.err
    assert said[0].startswith("xfm: Process 0 of 2")
    assert "another process ended" in said[0]
    assert "--resume" in said[0]
    assert f'File "{ROOT / "src"}' not in ended.err, ended.err  # of torchrun there is a traceback
    assert ended.left == []
    assert latest_checkpoint(tmp_path / "run")[0] is not None


@pytest.mark.parametrize("lost", [True, False])
def test_torchrun_stops_a_process_that_clears_up_after_another(monkeypatch, lost):
    """It stops the others as soon as it sees one end, perhaps while they are about to say why they end."""
    monkeypatch.setattr(distributed, "world", lambda: 2)
    error = RuntimeError("[gloo] Connection closed by peer" if lost else "of something else")

    def stopped() -> None:
        with explaining_failures(lambda: "saved"):
            try:
                raise error
            finally:
                raise KeyboardInterrupt("stopped by SIGTERM")

    with pytest.raises(UserError if lost else KeyboardInterrupt) as raised:
        stopped()
    said = str(raised.value)
    assert said.startswith("Process 0 of 2") if lost else said == "stopped by SIGTERM"


@thorough
@pytest.mark.slow
def test_torchrun_starts_a_run_again_that_has_lost_a_process(corpus, tmp_path):
    words = command(corpus, tmp_path, steps=60, save_every=5)[1:]
    with Running([*REAL_TORCHRUN, "2", "--max-restarts", "1", *words]) as running:
        running.wait_until(lambda: trains(tmp_path, 12))
        ranks(running)[1].send_signal(signal.SIGKILL)
        ended = running.end(240)
    assert ended.status == 0, ended.err[-3000:]
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    resumed = [line for line in map(json.loads, lines) if line.get("event") == "resumed"]
    assert any("Resuming from" in line["message"] for line in resumed)
    steps = [line["step"] for line in map(json.loads, lines) if "event" not in line]
    assert steps == sorted(set(steps))
    assert steps[-1] == 60
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
