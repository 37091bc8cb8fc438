"""A step on 2 and 4 processes (gloo), under DDP and FSDP2, has the losses and gradients of one process."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.alike import some, thorough
from tests.processes import TORCHRUN, Ended, run
from tests.training.ranks import CASES, REMEMBERED, SAVED, Case, as_numbers, run_case
from tests.training.support import assert_same_checkpoints, logged_losses
from xfm.config.training import ActivationCheckpointing, Strategy
from xfm.training.checkpoint import checkpoint_path

WORKER = Path(__file__).with_name("ranks_worker.py")


def start(world: int, folder: Path, *names: str) -> Ended:
    return run([*TORCHRUN, str(world), str(WORKER), str(folder), *names], 400)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    @cache
    def started(world: int) -> tuple[Path, Ended]:
        found = tmp_path_factory.mktemp(f"world-{world}")
        return found, start(world, found, *CASES, "save-fsdp", "beside-fsdp")

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


@pytest.mark.parametrize("name", CASES)
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
@pytest.mark.parametrize(("world", "strategy"), [(2, "ddp"), (3, "fsdp")])
def test_saved_by_four_with_shards_goes_on_anywhere(
    folders: Callable[[int], Path], tmp_path: Path, world: int, strategy: str
) -> None:
    shutil.copytree(folders(4) / "run", tmp_path / "run")
    shutil.rmtree(checkpoint_path(tmp_path / "run", 4))
    ended = start(world, tmp_path, f"resume-{strategy}")
    assert ended.status == 0, ended.err[:3000]
    check_continued(folders(4) / "run", tmp_path / "run")


@pytest.mark.parametrize("world", some([2, 4], 2))
def test_saved_with_shards_goes_on_in_one(folders: Callable[[int], Path], tmp_path: Path, world: int) -> None:
    shutil.copytree(folders(world) / "run", tmp_path / "run")
    shutil.rmtree(checkpoint_path(tmp_path / "run", 4))
    run_case(SAVED, folder=tmp_path / "run", resume=True)
    check_continued(folders(world) / "run", tmp_path / "run")


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


@pytest.mark.parametrize("world", some([2, 4], 2))
def test_checkpoints_that_are_written_beside_are_the_same(folders: Callable[[int], Path], world: int) -> None:
    assert_same_checkpoints(folders(world) / "beside", folders(world) / "run", 2)


@thorough
def test_checkpoints_without_shards_that_are_written_beside_are_the_same(tmp_path: Path) -> None:
    ended = start(2, tmp_path, "save-ddp", "beside-ddp")
    assert ended.status == 0, ended.err[:3000]
    assert_same_checkpoints(tmp_path / "beside", tmp_path / "run", 2)


@pytest.mark.slow
def test_what_each_process_remembers_goes_on_with_it(tmp_path: Path) -> None:
    ended = start(2, tmp_path, "remember-ddp")
    assert ended.status == 0, ended.err[:3000]
    early, late = (checkpoint_path(tmp_path / "run", step) for step in (2, 4))
    first, second = (load_file(early / f"random-{rank:05d}.safetensors") for rank in (0, 1))
    assert not torch.equal(first["negatives|image_identity"], second["negatives|image_identity"])
    whole = load_file(late / "model.safetensors")
    shutil.copytree(tmp_path / "run", tmp_path / "alone")
    for run_folder in (tmp_path / "run", tmp_path / "alone"):
        shutil.rmtree(checkpoint_path(run_folder, 4))
    ended = start(2, tmp_path, "recall-ddp")
    assert ended.status == 0, ended.err[:3000]
    again = load_file(late / "model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    result, _ = run_case(REMEMBERED, folder=tmp_path / "alone", resume=True)  # with the first one's
    assert result.step == 4


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_source_at_a_time_is_all_at_once(accumulation: int) -> None:
    numbers, gradients = alone(Case(gradient_accumulation_steps=accumulation))
    found, ours = alone(Case(gradient_accumulation_steps=accumulation, sequential_sources=True))
    assert found == pytest.approx(numbers, rel=1e-5, abs=1e-6)
    assert_same(ours, gradients)


def test_accumulated_batches_are_one_batch_of_blocks() -> None:
    """Contrast spans all of them, means are over all of them, negatives come from each."""
    case = Case(gradient_accumulation_steps=2)
    numbers, gradients = alone(case)
    result, joined = run_case(Case(block=5), together=2)
    assert as_numbers(result) == pytest.approx(numbers, rel=1e-5, abs=1e-6)
    assert_same(gradients, joined)
