"""Two processes (gloo on the CPU), under DDP and FSDP2, compute what one computes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from tests.alike import chosen, some, thorough
from tests.processes import TORCHRUN, Ended, run
from tests.training.distributed_worker import contrastive_gradient
from tests.training.ranks import CASES, EVERY, REMEMBERED, SAVED, Case, as_numbers, run_case
from tests.training.support import config, logged_losses, run_line
from xfm.config.training import ActivationCheckpointing, Change, Strategy
from xfm.core.errors import UserError
from xfm.training import distributed
from xfm.training.checkpoint import checkpoint_path, list_checkpoints, read_state
from xfm.training.collectives import balanced, gather_rows, part, rows_before

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
    }
    assert found | expected == found


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


def test_a_single_process_waits_for_nobody():
    with distributed.processes("cpu") as process:
        assert (process.rank, process.world, process.is_first) == (0, 1, True)
    rows = torch.ones(2, 3)
    assert gather_rows(rows) is rows
    assert rows_before(rows) == 0
    assert distributed.from_first("x") == "x"
    assert distributed.collect(3) == [3]
    distributed.barrier()


ABSENT = ["meta", *([] if torch.cuda.is_available() else ["cuda:0"])]


@pytest.mark.parametrize("name", ["foo", "", "cuda:x", "cpu:-3", *ABSENT])
def test_unknown_and_absent_devices_are_named(name):
    reason = "torch finds none on this machine; give auto or cpu" if name in ABSENT else "unknown; give auto"
    with pytest.raises(UserError, match=f"device {name}: {reason}"):
        distributed.pick_device(name)


@given(st.integers(0, 200), st.integers(1, 9))
def test_parts_are_all_of_it_and_nearly_equal(count: int, parts: int) -> None:
    found = [range(count)[part(count, place, parts)] for place in range(parts)]
    assert [one for own in found for one in own] == list(range(count))
    assert max(map(len, found)) - min(map(len, found)) <= 1


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 9))
def test_a_mean_of_balanced_means_is_the_mean_over_all(counts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(count, generator=generator, dtype=torch.float64) for count in counts]
    factors = balanced(counts, torch.device("cpu"))
    found = torch.stack([factor * one.mean() for factor, one in zip(factors, parts, strict=True)]).mean()
    torch.testing.assert_close(found, torch.cat(parts).mean())


RANKS_WORKER = Path(__file__).with_name("ranks_worker.py")


def start(world: int, folder: Path, *names: str) -> Ended:
    return run([*TORCHRUN, str(world), str(RANKS_WORKER), str(folder), *names], 400)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    @cache
    def started(world: int) -> tuple[Path, Ended]:
        remembering = ["remember-ddp"] if world == 2 else []
        found = tmp_path_factory.mktemp(f"world-{world}")
        return found, start(world, found, *chosen(CASES, EVERY), "save-fsdp", *remembering)

    def folder(world: int) -> Path:
        found, ended = started(world)
        assert ended.status == 0, ended.err[:3000]
        return found

    return folder


@cache
def alone(case: Case) -> tuple[dict[str, float], dict[str, Tensor]]:
    result, gradients = run_case(case)
    return as_numbers(result), gradients


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Within 1e-5 of the largest number of each."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        scale = expected.abs().max().clamp(min=1e-3).item()
        torch.testing.assert_close(
            ours[name], expected, rtol=0, atol=1e-5 * scale, msg=lambda said, name=name: f"{name}: {said}"
        )


@thorough
@pytest.mark.parametrize("name", some(CASES, EVERY))
@pytest.mark.parametrize("world", some([2, 4], 2))
@pytest.mark.slow
def test_a_step_is_that_of_one_process(folders: Callable[[int], Path], world: int, name: str) -> None:
    case = replace(
        CASES[name],
        strategy=Strategy.DDP,
        activation_checkpointing=ActivationCheckpointing.NONE,
        sequential_sources=False,
    )
    numbers, gradients = alone(case)
    found = json.loads((folders(world) / f"{name}.json").read_text())
    assert found == pytest.approx(numbers, rel=1e-5, abs=1e-6)
    assert_same(load_file(folders(world) / f"{name}.safetensors"), gradients)


@thorough
@pytest.mark.parametrize(
    ("saved", "world", "strategy"), [(4, 2, "ddp"), (4, 3, "fsdp"), (2, 1, ""), (4, 1, "")]
)
def test_saved_with_shards_goes_on_anywhere(folders, tmp_path, saved, world, strategy):
    shutil.copytree(folders(saved) / "run", tmp_path / "run")
    shutil.rmtree(checkpoint_path(tmp_path / "run", 4))
    if world == 1:
        run_case(SAVED, folder=tmp_path / "run", resume=True)
    else:
        ended = start(world, tmp_path, f"resume-{strategy}")
        assert ended.status == 0, ended.err[:3000]
    check_continued(folders(saved) / "run", tmp_path / "run")


def check_continued(whole: Path, resumed: Path) -> None:
    expected, found = logged_losses(whole), logged_losses(resumed)
    assert found.keys() == expected.keys() == {1, 2, 3, 4}
    for step, line in expected.items():
        assert found[step][0] == pytest.approx(line[0], rel=1e-4), step
        assert found[step][1] == pytest.approx(line[1], rel=1e-3), step
    ours, theirs = (load_file(checkpoint_path(one, 4) / "model.safetensors") for one in (resumed, whole))
    assert ours.keys() == theirs.keys()
    for name, weights in theirs.items():
        torch.testing.assert_close(ours[name], weights, rtol=1e-3, atol=1e-3)


@thorough
def test_what_each_process_remembers_goes_on_with_it(folders: Callable[[int], Path], tmp_path: Path) -> None:
    place = Path(shutil.copytree(folders(2) / "remembered", tmp_path / "remembered"))
    early, late = (checkpoint_path(place, step) for step in (2, 4))
    first, second = (load_file(early / f"random-{rank:05d}.safetensors") for rank in (0, 1))
    assert not torch.equal(first["negatives|image_identity"], second["negatives|image_identity"])
    whole = load_file(late / "model.safetensors")
    shutil.rmtree(late)
    shutil.copytree(place, tmp_path / "alone")
    ended = start(2, tmp_path, "recall-ddp")
    assert ended.status == 0, ended.err[:3000]
    again = load_file(late / "model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    result, _ = run_case(REMEMBERED, folder=tmp_path / "alone", resume=True)  # with the first one's
    assert result.step == 4


def test_a_source_at_a_time_is_all_at_once() -> None:
    numbers, gradients = alone(Case(gradient_accumulation_steps=2))
    found, ours = alone(Case(gradient_accumulation_steps=2, sequential_sources=True))
    assert found == pytest.approx(numbers, rel=1e-5, abs=1e-6)
    assert_same(ours, gradients)


def test_accumulated_batches_are_one_batch_of_blocks() -> None:
    """Contrast spans all of them, means are over all of them, negatives come from each."""
    case = Case(gradient_accumulation_steps=2)
    numbers, gradients = alone(case)
    result, joined = run_case(Case(block=5), together=2)
    assert as_numbers(result) == pytest.approx(numbers, rel=1e-5, abs=1e-6)
    assert_same(gradients, joined)
