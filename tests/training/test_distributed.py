"""Two processes (gloo on the CPU) compute what one computes."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch

from tests.processes import TORCHRUN, run
from tests.training.corpus import tiny_recipe, write_corpus
from tests.training.distributed_worker import contrastive_gradient
from tests.training.support import config, logged_losses, run_line
from xfm.config.training import Change
from xfm.core.errors import UserError
from xfm.training import curriculum, distributed
from xfm.training.checkpoint import checkpoint_path, list_checkpoints, read_state
from xfm.training.collectives import gather_rows, rows_before

WORKER = Path(__file__).with_name("distributed_worker.py")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    ended = run([*TORCHRUN, "2", str(WORKER), str(folder)], 240)
    assert ended.status == 0, ended.err[-3000:]
    return folder


@pytest.fixture
def found(two: Path) -> dict:
    return json.loads((two / "found.json").read_text())


@pytest.mark.slow
def test_collectives(found):
    expected = {
        "world": 2,
        "here": 2,
        "gathered": [0, 1],
        "collected": [0, 1],
        "from_first": "rank 0",
        "largest": [1, 0],
        "alike": [["", "UserError: they differ"], ["", "PeerReportedError: they differ"]],
    }
    assert found | expected == found


def test_the_processes_of_a_machine_share_its_memory(monkeypatch, tmp_path):
    """Two on one have half of the megabytes for pictures each; of two machines each has all of them."""
    own, asked = socket.gethostname(), list[int]()
    monkeypatch.setattr(distributed, "_grouped", lambda: True)
    monkeypatch.setattr(curriculum, "picture_cache", asked.append)
    recipe = tiny_recipe(write_corpus(tmp_path / "corpus"))
    for other in (own, "another"):
        monkeypatch.setattr(distributed, "_peers", [(own, 1), (other, 2)])
        curriculum.CurriculumData(recipe, distributed.Process(0, 2, torch.device("cpu")))
    assert asked == [recipe.data.cache_mb // 2, recipe.data.cache_mb]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not list threads")
def test_no_thread_of_the_group_outlives_it(two):
    """One that holds a tensor while the interpreter ends would abort the process, now and then."""
    for rank in range(2):
        names = json.loads((two / f"threads-{rank}.json").read_text())
        assert "python" in " ".join(names)
        assert not [name for name in names if "gloo" in name]


def test_gathering_keeps_the_gradient_of_remote_rows(found):
    """The published code drops it and gets 1 / world of the right value."""
    assert found["contrastive"] == pytest.approx(contrastive_gradient(0, 1), rel=1e-5)


def test_the_first_clock_decides_for_all(found):
    own = [[step / 10, int(step >= 5)] for step in range(11)]
    assert found["by_clock"] == [own, own]


def test_processes_stay_in_step_when_parameters_are_unused(found):
    first, second = found["pretraining"]
    assert first == second


def losses(folder: Path) -> dict[int, float]:
    return {step: line[0] for step, line in logged_losses(folder).items()}


def test_two_halves_are_one_batch(two, tmp_path):
    run_line(tmp_path, config(6))
    assert losses(two / "run") == pytest.approx(losses(tmp_path), rel=1e-5)


def test_moves_to_another_number_of_processes(two, tmp_path):
    """Saved by two processes, resumed by one: the losses of the uninterrupted run."""
    shutil.copytree(two / "run", tmp_path / "run")
    assert [p.name for p in list_checkpoints(tmp_path / "run")] == ["step-00000003", "step-00000006"]
    before = losses(tmp_path / "run")
    shutil.rmtree(checkpoint_path(tmp_path / "run", 6))
    with pytest.raises(UserError, match=r"had 2 processes and now has 1.*--allow-changed processes"):
        run_line(tmp_path / "run", config(6, save_every=3, keep=5), resume=True)
    allowed = frozenset({Change.PROCESSES})
    done = run_line(tmp_path / "run", config(6, save_every=3, keep=5), resume=True, allowed=allowed)
    assert done.folder is not None
    (change,) = done.folder.changes
    assert change.startswith("from step 3: it had 2 processes")
    assert read_state(checkpoint_path(tmp_path / "run", 6)).changes == (change,)
    assert losses(tmp_path / "run") == pytest.approx(before, rel=1e-5)


def test_a_single_process_needs_nothing():
    with distributed.processes("cpu") as process:
        assert (process.rank, process.world, process.is_first) == (0, 1, True)
    rows = torch.ones(2, 3)
    assert gather_rows(rows) is rows
    assert rows_before(rows) == 0
    assert distributed.from_first("x") == "x"
    assert distributed.collect(3) == [3]
    distributed.barrier()


ABSENT = ["meta", "xla", *([] if torch.cuda.is_available() else ["cuda", "cuda:0"])]


@pytest.mark.parametrize("name", ["foo", "gpu", "", "cuda:x", "cpu:-3", *ABSENT])
def test_unknown_and_absent_devices_are_named(name):
    reason = "torch finds none on this machine; give auto or cpu" if name in ABSENT else "unknown; give auto"
    with pytest.raises(UserError, match=f"device {name}: {reason}"):
        distributed.pick_device(name)


def test_the_processor_is_always_there():
    assert distributed.pick_device("cpu") == torch.device("cpu")
    assert distributed.pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_bare_name_is_this_process_s_own(monkeypatch):
    """On a machine that claims two GPUs; nothing is computed there."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    found = [distributed.pick_device(name) for name in ("cuda", "cuda:0")]
    assert found == [torch.device("cuda:1"), torch.device("cuda:0")]
    with pytest.raises(UserError, match="device cuda:2: this machine has 2, numbered from 0"):
        distributed.pick_device("cuda:2")
