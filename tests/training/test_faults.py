"""What becomes of the processes of a training when something goes wrong, tried on real ones."""

import signal
import time
from pathlib import Path

import pytest

from tests.alike import thorough
from tests.processes import Running, run
from tests.training.faults import ADVANCE, arguments, command, mounted, sentence, trains, with_fault
from tests.training.support import logged_losses
from xfm.training.checkpoint import list_checkpoints


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
