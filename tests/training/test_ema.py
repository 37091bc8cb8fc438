"""The average of the weights: its recursion, that it is resumed, and that it can be put in and out."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from timm.utils import ModelEmaV3

from tests.training.support import Line, config, run_line
from xfm.core.errors import UserError
from xfm.training.checkpoint import AVERAGE, checkpoint_path
from xfm.training.optim import EMA, RAMP


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


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_a_decay_that_averages_nothing_is_refused(decay):
    with pytest.raises(ValueError, match="between 0 and 1"):
        EMA(Line(), decay)


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
