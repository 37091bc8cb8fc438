"""`xfm finetune` under torchrun, with workers: what the command says, and a process of it that is killed."""

import json
from pathlib import Path

import psutil
import pytest

from tests.alike import thorough
from tests.evaluation.tiny import save_tiny_model
from tests.finetuning.conftest import SAMPLES
from tests.processes import TORCHRUN, XFM, Running, run
from xfm.finetuning.report import REPORT
from xfm.training.checkpoint import latest_checkpoint


def command(folder: Path, steps: int, *options: str) -> list[str]:
    """On the claims of the tutorial, by two processes with a worker each."""
    save_tiny_model(folder / "model")
    table = str(SAMPLES / "claims.csv")
    words = ["finetune", "image-text-classification", "--model", str(folder / "model"), "--train", table]
    words += ["--validation", table, "--test", table, "--out", str(folder / "run"), "--device", "cpu"]
    words += ["--steps", str(steps), "--batch-size", "6", "--workers", "1", "--patience", "0", *options]
    return [*TORCHRUN, "2", *XFM[1:], *words]


@pytest.mark.slow
def test_the_command_is_one_run(tmp_path: Path) -> None:
    ended = run(command(tmp_path, 3, "--evaluate-every", "3"), 300)
    assert ended.status == 0, ended.err
    assert ended.left == []
    for said in ("Model: ", "Report: ", "Use it: ", "Verdict: "):
        assert ended.out.count(said) == 1
    assert ended.err.count("10 training, 10 validation, 10 test rows; at most 3 steps of 6 rows") == 1
    assert "shared by 2 processes" in ended.err
    assert (tmp_path / "run" / REPORT).exists()
    assert not (tmp_path / "run" / ".xfm-lock").exists()


def ranks(running: Running, run: Path) -> list[psutil.Process]:
    """The processes by rank, when the run has saved something."""
    running.wait_until(lambda: any((run / "checkpoints").glob("step-*")))
    found = [one for one in running.children() if one.ppid() == running.process.pid]
    return sorted(found, key=lambda one: int(one.environ()["RANK"]))


@thorough
@pytest.mark.slow
def test_a_rank_that_is_killed_is_one_sentence_of_the_other(tmp_path: Path) -> None:
    with Running(command(tmp_path, 400, "--quiet", "--evaluate-every", "5")) as running:
        first, second = ranks(running, tmp_path / "run")
        running.lose(second, first)
        ended = running.end(120)
    (said,) = [line for line in ended.err.splitlines() if line.startswith("xfm: ")]
    assert said.startswith("xfm: Process 0 of 2")
    assert f"process 1 (id {second.pid}) ended" in said
    assert "--resume" in said
    assert ended.left == []
    assert latest_checkpoint(tmp_path / "run")[0] is not None


@thorough
@pytest.mark.slow
def test_torchrun_starts_a_run_again_that_has_lost_a_process(tmp_path: Path) -> None:
    words = command(tmp_path, 60, "--quiet", "--evaluate-every", "5", "--baseline", "false")
    words[len(TORCHRUN) + 1 : len(TORCHRUN) + 1] = ["--max-restarts", "1"]
    with Running(words) as running:
        ranks(running, tmp_path / "run")[1].kill()
        ended = running.end(240)
    assert ended.status == 0, ended.err[-3000:]
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert any("Resuming from" in line["message"] for line in lines if line.get("event") == "resumed")
    steps = [line["step"] for line in lines if "event" not in line]
    assert steps == sorted(set(steps))
    assert steps[-1] == 60
    assert (tmp_path / "run" / REPORT).exists()
