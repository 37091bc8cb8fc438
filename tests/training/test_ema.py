"""The average of the weights: its recursion, that it is resumed, and that it can be put in and out."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from timm.utils import ModelEmaV3

from tests.training.support import Line, config, numbers, run_line, train
from xfm.errors import UserError
from xfm.training.callbacks import AfterUpdate
from xfm.training.checkpoint import AVERAGE, checkpoint_path
from xfm.training.ema import EMA, RAMP, WeightAverage


def run(folder, training, resume=False, decay=0.9):
    averaged = WeightAverage(Line(), decay)

    def losses(model, batch, generator):
        return model.module.losses(batch, generator)

    is_new, follow = averaged.by_own_name(lambda name: name == "layer.bias"), AfterUpdate(averaged.update)
    train(averaged, losses, numbers, training, folder, resume=resume, is_new=is_new, callbacks=[follow])
    return averaged


def moved(module, step):
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_the_recursion_is_timms_once_the_ramp_is_over():
    ours, theirs = Line(), Line()
    averaged, reference = WeightAverage(ours, 0.5), ModelEmaV3(theirs, decay=0.5)
    for step in range(30):
        moved(ours, step)
        moved(theirs, step)
        averaged.update()
        reference.update(theirs)
    for a, b in zip(averaged.average.module.parameters(), reference.module.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_first_steps_follow_faster():
    averaged = WeightAverage(Line(), 0.999)
    averaged.update()
    expected = averaged.module.layer.weight.detach().clone()
    for step in range(1, 6):
        moved(averaged.module, step)
        averaged.update()
        kept = (1 + step) / (RAMP + step)
        expected = kept * expected + (1 - kept) * averaged.module.layer.weight.detach()
    torch.testing.assert_close(averaged.average.module.layer.weight, expected)


def test_it_is_resumed_bit_for_bit(tmp_path):
    training = config(12, save_every=5, keep=9)
    whole = run(tmp_path / "whole", training)
    run(tmp_path / "parts", training)
    for step in (10, 12):
        shutil.rmtree(checkpoint_path(tmp_path / "parts", step))
    resumed = run(tmp_path / "parts", training, resume=True)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(whole.module.layer.weight, whole.average.module.layer.weight)
    assert not any(p.requires_grad for p in whole.average.parameters())


def test_the_average_is_put_in_and_out():
    averaged = run(None, config(12))
    own = averaged.module.layer.weight.detach().clone()
    average = averaged.average.module.layer.weight.detach().clone()
    with averaged.applied():
        assert torch.equal(averaged.module.layer.weight, average)
    assert torch.equal(averaged.module.layer.weight, own)
    averaged.keep()
    assert torch.equal(averaged.module.layer.weight, average)


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_a_decay_that_averages_nothing_is_refused(decay):
    with pytest.raises(ValueError, match="between 0 and 1"):
        WeightAverage(Line(), decay)


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


def test_an_average_of_half_precision_is_kept_in_float32():
    model = Line().to(torch.bfloat16)
    average = EMA(model, 0.999)
    average.steps = 100_000  # the ramp is over
    with torch.no_grad():
        model.layer.weight.add_(1)
    before = average.state_dict()["layer.weight"].clone()
    average.update()
    step = average.state_dict()["layer.weight"] - before
    torch.testing.assert_close(step, torch.full_like(step, 1e-3), rtol=0.05, atol=0)


@pytest.mark.parametrize("beside", [False, True])
def test_a_run_keeps_and_resumes_the_average_beside_the_model(tmp_path, beside):
    training = config(12, save_every=5, keep=9, ema=0.9, save_async=beside)
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


def test_the_average_of_another_model_is_refused(tmp_path):
    run_line(tmp_path / "run", config(4, ema=0.9))
    other = EMA(torch.nn.Linear(2, 2), 0.9)
    with pytest.raises(UserError, match="not the average"):
        other.load(checkpoint_path(tmp_path / "run", 4) / AVERAGE)
