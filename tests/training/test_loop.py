"""The loop: exact resume, skipped steps, interruption, an early end, the average of the weights, logs."""

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.utils import ModelEmaV3

from tests.alike import some, thorough
from tests.training.support import (
    Line,
    Numbers,
    config,
    logged,
    logged_losses,
    model_batches,
    numbers,
    run_line,
    run_model,
)
from xfm.config.training import OptimConfig, Precision
from xfm.core.errors import UserError
from xfm.data.schema import BadRecord, Batch, Origin
from xfm.objectives.losses import Losses
from xfm.training.checkpoint import AVERAGE, checkpoint_path, list_checkpoints, read_state
from xfm.training.failures import Interrupted
from xfm.training.optim import EMA, RAMP


def stopping_at(step: int, number: int = signal.SIGINT):
    """Batches that send this process a signal while the given one is loaded."""

    def batches(start: int, stop: int) -> Iterator[Batch]:
        for index, batch in enumerate(model_batches(start, stop), start):
            if index == step:
                os.kill(os.getpid(), number)
            yield batch

    return batches


@pytest.mark.parametrize(
    ("own", "precision"), some([({}, Precision.FP32), ({"muon_lr": 0.02}, Precision.BF16)], 2), ids=str
)
def test_resume_is_bit_for_bit(tmp_path, precision, own):
    optim = OptimConfig(lr=1e-2, warmup=2, **own)
    training = config(
        9, precision=precision, save_every=3, keep=10, gradient_accumulation_steps=2, optim=optim
    )
    whole = run_model(tmp_path / "whole", training)
    with pytest.raises(Interrupted):
        run_model(tmp_path / "parts", training, stopping_at(8))  # in step 4
    assert [p.name for p in list_checkpoints(tmp_path / "parts")] == ["step-00000003", "step-00000005"]
    resumed = run_model(tmp_path / "parts", training, resume=True)
    first, second = logged_losses(tmp_path / "whole"), logged_losses(tmp_path / "parts")
    assert list(first) == list(range(1, 10))
    assert first == second
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@thorough
def test_a_resumed_run_keeps_the_precision_that_was_decided(tmp_path, monkeypatch):
    def decide(fast: bool) -> None:
        monkeypatch.setattr("xfm.models.precision.bf16_is_fast", lambda device: fast)

    training = config(12, precision=Precision.AUTO, save_every=4)
    decide(True)
    run_model(tmp_path / "whole", training)
    with pytest.raises(Interrupted):
        run_model(tmp_path / "parts", training, stopping_at(6))
    decide(False)  # another machine, or another measurement
    run_model(tmp_path / "parts", training, resume=True)
    assert read_state(list_checkpoints(tmp_path / "parts")[-1]).precision is Precision.BF16
    assert logged_losses(tmp_path / "whole") == logged_losses(tmp_path / "parts")


def test_a_crash_resumes_from_the_last_checkpoint_and_logs_nothing_twice(tmp_path):
    """Neither steps nor events: bad records of steps that are done again, and one of the last that is not."""

    def batches(start: int, stop: int) -> Iterator[Batch]:
        for step, batch in enumerate(model_batches(start, stop), start):
            if step == 9 and not (tmp_path / "crashed").exists():
                (tmp_path / "crashed").touch()
                raise RuntimeError("power cut")
            yield replace(batch, skipped=(BadRecord(Origin("shard.tar", str(step)), "it is spoilt"),))

    training = config(10, save_every=4)
    run_model(tmp_path / "whole", training)
    with pytest.raises(RuntimeError, match="power cut"):
        run_model(tmp_path / "parts", training, batches)
    run_model(tmp_path / "parts", training, batches, resume=True)
    assert logged_losses(tmp_path / "whole") == logged_losses(tmp_path / "parts")
    lines = logged(tmp_path / "parts")
    assert [line["step"] for line in lines if "event" not in line] == list(range(1, 11))
    bad = [(line["key"], line["step"]) for line in lines if line.get("event") == "bad_record"]
    assert bad == [(f"shard.tar:{n}", n + 1) for n in range(10)]


def test_falls_back_to_the_previous_checkpoint(tmp_path):
    training = config(9, save_every=3, keep=5)
    run_model(tmp_path, training)
    before = logged_losses(tmp_path)
    with (checkpoint_path(tmp_path, 9) / "model.safetensors").open("r+b") as stream:
        stream.truncate(1000)
    run_model(tmp_path, training, resume=True)
    assert logged_losses(tmp_path) == before
    notes = [line["message"] for line in logged(tmp_path) if line.get("event") == "resumed"]
    assert "model.safetensors is truncated or altered" in notes[0]
    assert "step-00000006 at step 6" in notes[1]


def test_signals_save_and_say_how_to_go_on(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=r"stopped after step 3.*--resume"):
        run_model(tmp_path, config(9), stopping_at(2, signal.SIGTERM))
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000003"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_while_the_last_step_is_looked_at_is_not_forgotten(tmp_path):
    """Other trainings may follow in the same command: it would go on for minutes."""

    def finished(done: int) -> bool:
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return done == 3

    with pytest.raises(Interrupted, match=r"step 3.*--resume"):
        run_line(tmp_path, config(9), finished=finished)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000003"]


def test_second_ctrl_c_stops_at_once(tmp_path):
    def batches(start: int, stop: int) -> Iterator[Numbers]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        yield from numbers(start, stop)

    with pytest.raises(KeyboardInterrupt) as caught:
        run_line(tmp_path, config(4), batches=batches)
    assert not isinstance(caught.value, Interrupted)
    assert not list_checkpoints(tmp_path)


class Poisoned(Line):
    """A model whose loss or gradient is broken in some steps."""

    def __init__(self, bad: set[int], value: float = float("nan"), gradient: bool = False) -> None:
        super().__init__()
        self.bad, self.value, self.gradient, self.step = bad, value, gradient, -1

    def losses(self, batch: Numbers, generator: torch.Generator) -> Losses:
        self.step += 1
        result = super().losses(batch, generator)
        if self.step not in self.bad:
            return result
        if self.gradient:  # sqrt(0) is finite, its gradient is not
            zero = (self.layer.weight - self.layer.weight).square().sum()
            return Losses(result.total + zero.sqrt(), result.terms)
        return Losses(result.total * self.value, {"square": result.total * self.value})


@pytest.mark.parametrize(("value", "gradient"), [(float("nan"), False), (1.0, True)])
def test_bad_steps_are_skipped(tmp_path, value, gradient):
    model = Poisoned({1, 2, 5}, value, gradient)
    result = run_line(tmp_path, config(8, max_bad_steps=3), model)
    assert result.skipped == 3
    assert all(p.isfinite().all() for p in model.parameters())
    skipped = [line for line in logged(tmp_path) if line.get("event") == "skipped_step"]
    assert [line["step"] for line in skipped] == [2, 3, 6]  # counted as in the other lines
    assert skipped[0]["keys"] == [f"shard.tar:1-{row}" for row in range(8)]
    assert sorted(logged_losses(tmp_path)) == [1, 4, 5, 7, 8]  # steps done when a good one ended


def test_too_many_bad_steps_stop_with_the_keys(tmp_path):
    model = Poisoned({3, 4, 5, 6})
    with pytest.raises(UserError, match=r"3 steps .*step 6 \(square nan\) on shard.tar:5-0, shard.tar:5-1"):
        run_line(tmp_path, config(20, max_bad_steps=3, save_every=2), model)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000002", "step-00000004"]
    assert all(p.isfinite().all() for p in model.parameters())


def test_equals_a_plain_loop_of_torch():
    """Reference: AdamW without groups, clipping and LambdaLR, as torch's documentation writes a loop."""
    training = config(12, optim=OptimConfig(lr=0.05, warmup=4, weight_decay=0.0, clip=0.5))
    ours, reference = Line(), Line()
    run_line(None, training, ours)
    optimizer = torch.optim.AdamW(reference.parameters(), lr=0.05, betas=(0.9, 0.98), weight_decay=0.0)
    factors = [0.25, 0.5, 0.75, 1.0] + [(12 - step) / 8 for step in range(4, 13)]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factors[step])
    for batch in numbers(0, 12):
        optimizer.zero_grad()
        reference.losses(batch, torch.Generator()).total.backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(ours.layer.weight, reference.layer.weight)


def test_log_has_everything(tmp_path):
    run_line(tmp_path, config(7, log_every=3))
    lines = logged(tmp_path)
    assert [line["step"] for line in lines] == [3, 6, 7]
    first = lines[0]
    assert first["losses"].keys() == {"square"}
    assert first["metrics"].keys() == {"noise"}
    assert first["loss"] == first["losses"]["square"]
    assert first["samples_per_s"] == pytest.approx(8 * first["steps_per_s"])
    assert first["grad_norm"] > 0
    assert first["lr"] == pytest.approx(1e-2)
    assert (tmp_path / "config.yaml").exists()


def test_a_finished_run_goes_on_to_nothing_and_not_with_another_configuration(tmp_path):
    run_line(tmp_path, config(4))
    with pytest.raises(UserError, match=r"already holds a run.*--resume"):
        run_line(tmp_path, config(4))
    other = config(4, optim=OptimConfig(lr=0.5, warmup=2))
    with pytest.raises(UserError, match=r"training.optim.lr was 0.01 and is now 0.5"):
        run_line(tmp_path, other, resume=True)
    result = run_line(tmp_path, config(4, log_every=7, keep=9), resume=True)  # these may change
    assert (result.step, result.skipped, result.last) == (4, 0, {})


def test_a_run_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """After that very step, saved; what was computed is what a whole run computes until there."""
    asked, enough = list[int](), 4

    def finished(done: int) -> bool:
        asked.append(done)
        return done >= enough

    result = run_line(tmp_path / "early", config(10), finished=finished)
    run_line(tmp_path / "whole", config(10))
    assert result.step == enough
    assert asked == list(range(1, enough + 1))
    assert [path.name for path in list_checkpoints(tmp_path / "early")] == [f"step-{enough:08d}"]
    whole = logged_losses(tmp_path / "whole")
    assert logged_losses(tmp_path / "early") == {step: whole[step] for step in range(1, enough + 1)}


def moved(module, step):
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_the_recursion_is_timms_once_the_ramp_is_over():
    ours, theirs = Line(), Line()
    average, reference = EMA(ours, 0.5), ModelEmaV3(theirs, decay=0.5)
    average.steps = 100
    for step in range(30):
        moved(ours, step)
        moved(theirs, step)
        average.update()
        reference.update(theirs)
    with average.applied():
        for a, b in zip(ours.parameters(), reference.module.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_an_average_beside_the_model():
    """Its first average is the model as it begins."""
    model = Line()
    average = EMA(model, 0.9)
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    for step in range(30):
        moved(model, step)
        average.update()
        kept = min(0.9, (1 + step) / (RAMP + step))
        for name, parameter in model.named_parameters():
            expected[name] = kept * expected[name] + (1 - kept) * parameter.detach()
    trained = {name: p.detach().clone() for name, p in model.named_parameters()}
    with average.applied():
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name])
            assert parameter.dtype == average.state_dict()[name].dtype == torch.float32
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, trained[name])
    average.give()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name])


def test_a_run_keeps_and_resumes_the_average_beside_the_model(tmp_path):
    training = config(12, save_every=5, keep=9, ema=0.9)
    whole = run_line(tmp_path / "whole", training).ema
    run_line(tmp_path / "parts", training)
    for step in (10, 12):
        shutil.rmtree(checkpoint_path(tmp_path / "parts", step))
    resumed = run_line(tmp_path / "parts", training, resume=True).ema
    assert whole.state_dict().keys() == {"layer.weight", "layer.bias", "|steps"}
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    assert whole.steps == 12
    stored = checkpoint_path(tmp_path / "parts", 12)
    weights, average = load_file(stored / "model.safetensors"), load_file(stored / AVERAGE)
    for name, tensor in weights.items():
        assert torch.equal(average[name], whole.state_dict()[name])
        assert not torch.equal(average[name], tensor)
