"""What only NVIDIA GPUs can show (`make gpu`): NCCL, torch.compile, memory. Other files have more."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks.plan import narrow, peak_of, predicted
from safetensors.torch import load_file

from tests.processes import REAL_TORCHRUN, run
from tests.training.corpus import tiny_recipe, write_corpus
from tests.training.ranks import CASES, as_numbers, run_case
from tests.training.support import logged_losses
from xfm.config.load import load_recipe
from xfm.config.training import ActivationCheckpointing, Strategy
from xfm.training.checkpoint import checkpoint_path
from xfm.training.planning.memory import LEVELS
from xfm.training.pretrain import pretrain

pytestmark = pytest.mark.gpu
WORKER = Path(__file__).with_name("ranks_worker.py")
PLAIN = {"strategy": Strategy.DDP, "activation_checkpointing": ActivationCheckpointing.NONE}


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")
@pytest.mark.parametrize("name", CASES)
def test_a_step_of_two_gpus_is_that_of_one(tmp_path: Path, name: str) -> None:
    """Under DDP and FSDP2, by NCCL."""
    ended = run([*REAL_TORCHRUN, "2", str(WORKER), str(tmp_path), name], 300, DEVICE="cuda")
    assert ended.status == 0, ended.err[-3000:]
    result, gradients = run_case(replace(CASES[name], **PLAIN), device="cuda")
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert found == pytest.approx(as_numbers(result), rel=1e-3, abs=1e-4)
    theirs = load_file(tmp_path / f"{name}.safetensors")
    for key, gradient in gradients.items():
        close = {"rtol": 1e-2, "atol": 1e-3 * float(gradient.abs().max())}
        torch.testing.assert_close(theirs[key], gradient, **close)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_run_that_was_stopped_goes_on(tmp_path: Path, compiled: bool) -> None:
    recipe = tiny_recipe(write_corpus(tmp_path / "corpus"), save_every=3, keep=9)
    here = {"progress": False, "device": "cuda", "compiled": compiled}
    pretrain(recipe, tmp_path / "whole", **here)
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    shutil.rmtree(checkpoint_path(tmp_path / "run", 6))
    pretrain(recipe, tmp_path / "run", resume=True, **here)
    expected, found = (logged_losses(tmp_path / one) for one in ("whole", "run"))
    for step, line in expected.items():
        assert found[step][0] == pytest.approx(line[0], rel=1e-2), step


@pytest.mark.parametrize("level", LEVELS)
def test_the_planner_knows_the_peak(level: ActivationCheckpointing) -> None:
    base = narrow(load_recipe("base", ["--training.precision", "bf16"]))
    recipe = replace(base, training=replace(base.training, activation_checkpointing=level))
    assert peak_of(recipe, "cuda") == pytest.approx(predicted(recipe, fused=True)[0].total, rel=0.15)
