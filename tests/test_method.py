"""The method on one page has the losses and gradients of the step that `xfm pretrain` takes, in float64."""

import ast
from dataclasses import replace
from itertools import chain, combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.alike import some
from tests.modeling.build import random_batch, spread, tiny_model
from tests.rooms import ROOT
from tests.training.ranks import OnePhase
from tests.training.support import called
from xfm.config.load import load_recipe
from xfm.config.model import GradientConfig, MimTarget
from xfm.config.training import LossConfig
from xfm.data.schema import Batch
from xfm.method import xfm_losses
from xfm.models.gradients import FINE_TUNING, INPUTS, PRETRAINING, EncoderName, GradientPolicy, Objective
from xfm.models.xfm import XFM
from xfm.objectives.step import pretraining_losses
from xfm.training.pretraining_step import PretrainingStep

NAMES = {f"{source}/{loss}" for source in ("pair", "region") for loss in ("itc", "itm", "imlm")}
NAMES |= {"text/mlm", "image/mim", "pair/mim", "region/box_l1", "region/box_giou"}


def possible_rows(objective: Objective) -> list[frozenset[EncoderName]]:
    """Every set of encoders that an objective may reach: fusion first, if it lies before others."""
    inputs = sorted(INPUTS[objective])
    sets = chain.from_iterable(combinations(inputs, size) for size in range(len(inputs) + 1))
    behind = EncoderName.FUSION in inputs
    return [frozenset(one) for one in sets if not (one and behind) or EncoderName.FUSION in one]


def policies() -> dict[str, GradientPolicy]:
    """Those of the package, those of recipes, and every possible row of the table beside the others."""
    found = {"pretraining": PRETRAINING, "fine-tuning": FINE_TUNING}
    for recipe in ("nano", "small-twins"):
        for number, phase in enumerate(load_recipe(recipe).phases()):
            found[f"{recipe}-{number}"] = GradientPolicy.of(phase.gradients)
    for objective in Objective:
        for row in possible_rows(objective):
            name = f"{objective}-{'+'.join(sorted(row)) or 'nothing'}"
            found[name] = GradientPolicy({**PRETRAINING.reaches, objective: row})
    return found


def example() -> tuple[XFM, Batch]:
    """A model in training mode and a batch of every source, in float64; some images and texts occur twice."""
    model, batch = tiny_model(), random_batch(pairs=5, pictures=3, rows=7)
    spread(model, 0.05)
    pair, region = batch.pair, batch.region
    assert pair is not None
    assert region is not None
    pair = replace(pair, image_identity=torch.tensor([0, 1, 0, 2, 3]))
    region = replace(region, text_identity=torch.tensor([0, 1, 2, 3, 1, 4, 5]))
    batch = replace(batch, pair=pair, region=region)
    batch = batch.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    return model.double().train(), batch


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def gradients(model: XFM) -> dict[str, Tensor]:
    named = model.named_parameters()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in named}


def expect_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=name)


def compare(model: XFM, batch: Batch, policy: GradientPolicy) -> dict[str, Tensor]:
    """Losses and gradients of the page and of the step, which may have more losses of 0."""
    ours = xfm_losses(model, batch, drawn(), policy)
    torch.stack([*ours.values()]).sum().backward()
    our_gradients = gradients(model)
    model.zero_grad()
    theirs = pretraining_losses(model, batch, policy, LossConfig(), drawn())
    theirs.total.backward()
    expect_equal(ours, {name: loss for name, loss in theirs.terms.items() if name in ours or loss})
    expect_equal(our_gradients, gradients(model))
    return ours


@pytest.mark.parametrize("name", some(policies(), 5))
def test_losses_and_gradients_are_those_of_the_step(name: str) -> None:
    model, batch = example()
    losses = compare(model, batch, policies()[name])
    assert losses.keys() == NAMES
    assert all(loss.dtype == torch.float64 and loss > 0 for loss in losses.values())


@pytest.mark.parametrize("sequential_sources", [False, True], ids=["together", "sequential-sources"])
def test_xfm_pretrain_steps_on_the_same_gradients(sequential_sources: bool) -> None:
    """By the recipe's default settings, through what the training loop calls."""
    model, batch = example()
    losses = xfm_losses(model, batch, drawn())
    torch.stack([*losses.values()]).sum().backward()
    ours = gradients(model)
    model.zero_grad()
    data: Any = OnePhase(LossConfig())
    policy = GradientPolicy.of(GradientConfig())
    step, generator = PretrainingStep([policy], MimTarget.STATES, data, sequential_sources), drawn()
    (parts,) = step.split(model, [batch], generator, called(model))
    found: dict[str, Tensor] = {}
    for part in parts:
        one = step(model, part, generator)
        one.total.backward()
        found |= one.terms
    expect_equal(losses, found)
    expect_equal(ours, gradients(model))


def test_a_batch_without_negatives_boxes_and_masked_tokens() -> None:
    """All images of pairs are the same, all captions of regions are about whole images, no text is masked."""
    model, batch = example()
    pair, region, text = batch.pair, batch.region, batch.text
    assert pair is not None
    assert region is not None
    assert text is not None
    nothing = torch.full_like(text.masked.labels, -100)
    batch = replace(
        batch,
        text=replace(text, masked=replace(text.masked, labels=nothing)),
        pair=replace(pair, image_identity=torch.zeros_like(pair.image_identity), patch_mask=None),
        region=replace(region, is_image=torch.ones_like(region.is_image)),
    )
    losses = compare(model, batch, PRETRAINING)
    assert losses.keys() == NAMES - {"pair/mim", "region/box_l1", "region/box_giou"}
    assert losses["text/mlm"] == 0
    assert losses["pair/itm"] > 0


def test_it_is_one_page_of_torch_and_the_model() -> None:
    text = (ROOT / "src" / "xfm" / "method.py").read_text()
    assert len(text.splitlines()) <= 250
    modules = set()
    for node in ast.parse(text).body:  # types alone are imported further in
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    assert {name for name in modules if not str(name).startswith(("torch", "xfm.models."))} == {"typing"}
