"""A training is killed again and again, at random moments, and its shards change under it.

A few kills in the suite, fifty of each kind with `make faults` (`XFM_KILLS`).
"""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.alike import some, thorough
from tests.processes import TORCHRUN, XFM, Running, run
from tests.training.corpus import write_corpus
from tests.training.faults import arguments, command, sentence, trains, unaccounted, with_fault
from tests.training.support import logged, logged_losses
from xfm.training.atomic_folder import damage
from xfm.training.checkpoint import checkpoint_path, list_checkpoints, read_state

KILLS = int(os.environ.get("XFM_KILLS", "2"))
"""Processes that are killed in each test; more are asked for by the environment."""
STEPS = 10 + (8 if KILLS <= 2 else 20) * KILLS
SETTINGS = {"steps": STEPS, "save_every": 4, "caption_rows": False}
DIES = (
    "import os, signal, shutil\n"
    "calls = []\n"
    "def dying(real):\n"
    "    def call(*words, **more):\n"
    "        calls.append(1)\n"
    "        if len(calls) == {number}:\n"
    "            os.kill(os.getpid(), signal.SIGKILL)\n"
    "        return real(*words, **more)\n"
    "    return call\n"
    "os.fsync, os.replace, shutil.rmtree = map(dying, (os.fsync, os.replace, shutil.rmtree))\n"
)
"""A process kills itself before the n-th time that it forces to the disk, renames or deletes."""
CALLS = 40
"""So many such calls come with two checkpoints, at least."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(spoiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    ended = run(command(spoiled, folder, **SETTINGS), 600)
    assert ended.status == 0, ended.err
    return folder / "run"


def done(folder: Path) -> int:
    """Lines of the log of the run in a folder."""
    log = folder / "run" / "log.jsonl"
    return len(log.read_text(errors="replace").splitlines()) if log.exists() else 0


def resuming(folder: Path) -> list[str]:
    """The option that goes on with the run in a folder; none before it has begun."""
    begun = (folder / "run" / "log.jsonl").exists() or list_checkpoints(folder / "run")
    return ["--resume"] if begun else []


def at_some_step(folder: Path, words: list[str], rng: random.Random, several: bool) -> int:
    """Let a command run to some step and a little further, and kill it; its exit status.

    Of several processes, which torchrun has started, all are killed.
    """
    with Running(words) as running:
        target = min(done(folder) + rng.randint(1, 30), STEPS - 2)
        deadline = time.monotonic() + 300
        while running.process.poll() is None and done(folder) < target:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        running.signal(signal.SIGKILL)
        for rank in running.children() if several else ():
            with suppress(psutil.Error):
                rank.kill()
        ended = running.end()
    assert ended.left == []
    return ended.status


def killed_at_random(folder, words, seed, kills=KILLS, several=False):
    """Run a command, kill it and run it again; how many were killed before one came to its end.

    Every other one kills itself while it works with the disk, that is while a checkpoint is written;
    of several processes all are killed from outside.
    """
    rng = random.Random(seed)
    for kill in range(kills):
        if not several and kill % 2 == 0:
            fault = DIES.format(number=rng.randint(1, CALLS))
            status = run(with_fault(fault, words()), 600).status
        else:
            program = [*TORCHRUN, "2", "-m", "xfm"] if several else XFM
            status = at_some_step(folder, [*program, *words()], rng, several)
        if status == 0:
            return kill
        assert status == -signal.SIGKILL
        for path in list_checkpoints(folder / "run"):
            assert damage(path) is None, "what has its name is whole"
    return kills


def check_same_end(folder: Path, whole: Path) -> None:
    """Weights, moments, random states, losses and counts are those of a run that was not killed."""
    ours, theirs = folder / "run", whole
    for name in ("model.safetensors", "optimizer.safetensors", "random-00000.safetensors"):
        found, expected = (checkpoint_path(one, STEPS) / name for one in (ours, theirs))
        assert found.read_bytes() == expected.read_bytes(), name
    found, expected = (one / "model" / "model.safetensors" for one in (ours, theirs))
    assert found.read_bytes() == expected.read_bytes()
    assert logged_losses(ours) == logged_losses(theirs)
    check_counts(ours, theirs)


def check_counts(ours: Path, theirs: Path) -> None:
    """What was read is accounted for to the last sample, and counted as often as without a kill."""
    found, expected = (read_state(checkpoint_path(one, STEPS)).samples for one in (ours, theirs))
    assert found == expected
    assert set(unaccounted(found).values()) == {0}
    assert found["region"]["skipped"] > 0
    assert found["region"]["passed_over"] > 0


@thorough
def test_weights_are_those_of_a_run_that_was_never_killed(spoiled, whole, tmp_path):
    settings = SETTINGS
    killed = killed_at_random(
        tmp_path, lambda: arguments(spoiled, tmp_path, *resuming(tmp_path), **settings), seed=1
    )
    assert killed >= min(KILLS, 2)
    ended = run(command(spoiled, tmp_path, *resuming(tmp_path), **settings), 600)
    assert ended.status == 0, ended.err
    check_same_end(tmp_path, whole)
    assert all(path.name.startswith("step-") for path in (tmp_path / "run" / "checkpoints").iterdir())


@thorough
def test_two_processes_are_killed_and_account_for_every_sample(spoiled, whole, tmp_path):
    """Both at once, as a machine that goes down; what they have read is what one process reads."""

    def words() -> list[str]:
        settings = {**SETTINGS, "workers": 0}
        return arguments(spoiled, tmp_path, *resuming(tmp_path), **settings)

    assert killed_at_random(tmp_path, words, 3, kills=max(1, KILLS // 10), several=True)
    ended = run([*TORCHRUN, "2", "-m", "xfm", *words()], 600)
    assert ended.status == 0, ended.err[-3000:]
    check_counts(tmp_path / "run", whole)


# ------------------------------------------------------------------ shards that change
def truncated(shard: Path) -> None:
    os.truncate(shard, shard.stat().st_size // 2)


def overwritten(shard: Path) -> None:
    """Another shard is copied over it."""
    size = shard.stat().st_size
    with shard.open("r+b") as file:
        file.write(bytes(512) + os.urandom(size - 512))


def replaced(shard: Path) -> None:
    """Another shard takes its name, as `mv` does."""
    other = shard.with_name("other")
    other.write_bytes(os.urandom(shard.stat().st_size))
    os.replace(other, shard)


@thorough
@pytest.mark.parametrize("happens", some([truncated, overwritten, replaced], 3))
def test_a_shard_changes_under_a_running_job(tmp_path, happens):
    """A run that has it open goes on where the old bytes are there; else it says which shard, and counts."""
    corpus = write_corpus(tmp_path / "corpus")
    shard, log = corpus / "scenes-00000.tar", tmp_path / "run" / "log.jsonl"
    words = command(corpus, tmp_path, "--data.max_bad", "20", steps=100_000, save_every=50)
    words += ["--curriculum", "[]", "--data.cache_mb", "0"]
    with Running(words) as running:
        running.wait_until(lambda: trains(tmp_path))
        happens(shard)
        before = done(tmp_path)
        while running.process.poll() is None and done(tmp_path) < before + 60:
            time.sleep(0.05)
        running.signal(signal.SIGTERM)
        ended = running.end()
    steps = [line for line in logged(log.parent) if "event" not in line]
    assert set(unaccounted(steps[-1]["samples"]).values()) == {0}
    bad = {line["key"] for line in logged(log.parent) if line.get("event") == "bad_record"}
    assert all(place.startswith(f"{shard}:") for place in bad)
    if happens is replaced:
        assert sentence(ended, 130)
        assert not bad
    elif ended.status == 2:  # too many, or all that could have been taken
        said = sentence(ended)
        assert " bad" in said
        assert str(shard) in said
    else:
        assert sentence(ended, 130)
        assert bad
