"""Several processes, started by torchrun: commands that are for one, and one that is killed."""

import json
import signal
from pathlib import Path

import psutil
import pytest

from tests.alike import thorough
from tests.processes import ROOT, TORCHRUN, XFM, Running, run
from tests.training.corpus import write_corpus
from tests.training.faults import command, sentence, trains
from xfm.core.errors import UserError
from xfm.data.skipped import read_bad_rows
from xfm.training import distributed
from xfm.training.checkpoint import latest_checkpoint
from xfm.training.failures import explaining_failures


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "m"],
        ["predict", "embed", "--model", "m", "--input", "i", "--out", "o"],
        ["prepare", "--folder", "w"],
        ["quickstart", "--smoke"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("rank", ["0", "1"])
def test_commands_for_one_process_refuse_several(tmp_path, words, rank):
    """As torchrun tells a process; only the first one says it."""
    ended = run([*XFM, *words], 60, tmp_path, WORLD_SIZE="2", RANK=rank, LOCAL_RANK=rank)
    assert not any(tmp_path.iterdir())
    if rank == "0":
        assert f"xfm {words[0]} runs in one process, and torchrun has started 2" in sentence(ended)
    else:
        assert (ended.status, ended.err) == (2, "")


def test_a_number_of_processes_that_is_none(tmp_path):
    ended = run([*XFM, "evaluate", "m"], 60, tmp_path, WORLD_SIZE="two")
    assert "WORLD_SIZE is 'two'" in sentence(ended)


def test_processes_that_do_not_find_one_another(corpus, tmp_path):
    ended = run(command(corpus, tmp_path, steps=2), 60, WORLD_SIZE="2", RANK="0")
    assert "start them with torchrun" in sentence(ended)
    assert not (tmp_path / "run").exists()


def ranks(running: Running) -> list[psutil.Process]:
    """The processes that torchrun has started, by rank; not their loaders."""
    found = [one for one in running.children() if one.ppid() == running.process.pid]
    return sorted(found, key=lambda one: int(one.environ()["RANK"]))


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
    assert f"process 1 (id {second.pid}) ended" in said[0]
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
def test_the_scheduler_stops_all_ranks(corpus, tmp_path):
    words = command(corpus, tmp_path, workers=1)[1:]
    with Running([*TORCHRUN, "2", *words]) as running:
        running.wait_until(lambda: trains(tmp_path, 3))
        running.signal(signal.SIGTERM, group=True)
        ended = running.end(120)
    said = [line for line in ended.err.splitlines() if line.startswith("xfm: ")]
    assert said, ended.err
    assert all("--resume" in line for line in said)
    assert ended.left == []
    assert latest_checkpoint(tmp_path / "run")[0] is not None


@thorough
@pytest.mark.slow
def test_every_rank_writes_down_what_it_left_out(tmp_path):
    """Each into a file of its own; what a run of more processes left there counts no more."""
    shard = write_corpus(tmp_path / "corpus") / "scenes-00000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"PNG", b"XXX", 4))
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("bad.jsonl", "bad-1.jsonl", "bad-5.jsonl"):
        (folder / name).write_text('{"place": "of a run that was thrown away", "error": "x"}\n')
    words = command(tmp_path / "corpus", tmp_path, steps=20)[1:]
    ended = run([*TORCHRUN, "2", *words], 200)
    assert ended.status == 0, ended.err
    assert sorted(path.name for path in folder.glob("bad*")) == ["bad-1.jsonl", "bad.jsonl"]
    places = {one: set(read_bad_rows(folder, one)) for one in ("bad.jsonl", "bad-1.jsonl")}
    assert len(places["bad.jsonl"] | places["bad-1.jsonl"]) == 4
    assert all(place.startswith(str(shard)) for found in places.values() for place in found)
    said = next(line for line in ended.out.splitlines() if f"4 records were left out: {shard}" in line)
    assert said.endswith(" and ".join(str(folder / one) for one, found in places.items() if found))


@thorough
def test_a_process_that_waits_in_vain_says_who_waited_in_what() -> None:
    worker = Path(__file__).with_name("late_worker.py")
    ended = run([*TORCHRUN, "2", str(worker)], 120)
    assert ended.status != 0
    said = next(line for line in ended.err.splitlines() if line.startswith("xfm: Process 0"))
    assert said.startswith(
        "xfm: Process 0 of 2 (counted from 0) stops in the gathering of counts (all_gather)"
    )
    assert said.endswith("; saved")


@thorough
@pytest.mark.slow
def test_torchrun_starts_a_run_again_that_has_lost_a_process(corpus, tmp_path):
    words = command(corpus, tmp_path, steps=60, save_every=5)[1:]
    with Running([*TORCHRUN, "2", "--max-restarts", "1", *words]) as running:
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
