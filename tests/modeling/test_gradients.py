"""Every cell of the gradient policy, checked on a real backward pass."""

import itertools

import pytest
import torch

from tests.modeling.build import random_batch, tiny_model
from xfm.config.training import LossConfig
from xfm.modeling.gradients import FINE_TUNING, INPUTS, PRETRAINING, Encoder, GradientPolicy, Objective
from xfm.objectives.step import pretraining_losses

PARTS = {
    Objective.MLM: ["text/mlm"],
    Objective.ITC: ["pair/itc", "region/itc"],
    Objective.ITM: ["pair/itm", "region/itm"],
    Objective.IMLM: ["pair/imlm", "region/imlm"],
    Objective.MIM: ["pair/mim", "image/mim"],
    Objective.BBP: ["region/box_l1", "region/box_giou"],
}
MIXED = GradientPolicy(
    {
        **PRETRAINING.reaches,
        Objective.ITM: frozenset({Encoder.FUSION}),
        Objective.IMLM: frozenset(Encoder),
        Objective.ITC: frozenset({Encoder.LANGUAGE}),
        Objective.BBP: frozenset(),
    }
)


@pytest.mark.parametrize(
    "policy", [PRETRAINING, FINE_TUNING, MIXED], ids=["pretraining", "fine-tuning", "mixed"]
)
def test_every_cell(policy: GradientPolicy) -> None:
    model = tiny_model()
    losses = pretraining_losses(model, random_batch(), policy, LossConfig(), torch.Generator())
    assert set(itertools.chain(*PARTS.values())) == set(losses.parts)
    for objective, names in PARTS.items():
        for name in names:
            model.zero_grad()
            losses.parts[name].backward(retain_graph=True)
            for encoder in Encoder:
                gradients = [p.grad for p in getattr(model, encoder).parameters() if p.grad is not None]
                reached = any(bool(g.abs().sum() > 0) for g in gradients)
                # Fusion's words are the tied output matrix of IMLM's head: they learn anyway.
                if encoder is Encoder.FUSION and objective is Objective.IMLM:
                    gradients = [p.grad for p in model.fusion.layers.parameters() if p.grad is not None]
                    reached = any(bool(g.abs().sum() > 0) for g in gradients)
                if encoder is Encoder.LANGUAGE and objective is Objective.MLM:
                    continue
                assert reached == policy.allows(objective, encoder), f"{name} x {encoder}"


def test_mlm_without_language_trains_the_head_alone() -> None:
    policy = GradientPolicy({**PRETRAINING.reaches, Objective.MLM: frozenset()})
    model = tiny_model()
    losses = pretraining_losses(model, random_batch(), policy, LossConfig(), torch.Generator())
    losses.parts["text/mlm"].backward()
    assert all(p.grad is None for p in model.language.layers.parameters())
    assert model.language_head.dense.weight.grad is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({Objective.MLM: frozenset({Encoder.VISION})}, "does not use vision"),
        ({Objective.ITM: frozenset({Encoder.VISION})}, "add fusion"),
    ],
)
def test_impossible_tables_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradientPolicy({**PRETRAINING.reaches, **change})


def test_a_missing_row_is_refused() -> None:
    rows = {k: v for k, v in INPUTS.items() if k is not Objective.BBP}
    with pytest.raises(ValueError, match="no row for bbp"):
        GradientPolicy(rows)
