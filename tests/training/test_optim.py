"""Optimisers and schedules beside those of torch, timm and the published code."""

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.optim import param_groups_layer_decay
from torch import nn

from tests.modeling.build import tiny_model
from xfm.config.training import OptimConfig, Precision, Schedule
from xfm.models.precision import autocast
from xfm.models.timm_encoders import TimmVision
from xfm.training.clock import TrainingClock
from xfm.training.optim import (
    BatchedMuon,
    PublishedAdamW,
    build_optimizer,
    is_decayed,
    layer_factors,
    orthogonalised,
    parameter_groups,
    set_lr,
)


def by_name(groups, field):
    """A field of the group of every parameter."""
    return {name: group[field] for group in groups for name in group["names"]}


def test_no_vector_scalar_or_position_table_is_decayed():
    for name, parameter in tiny_model().named_parameters():
        table = "positions" in name or "relative_position" in name
        assert is_decayed(name, parameter) == (parameter.ndim >= 2 and not table), name


def test_groups_cover_every_trained_parameter_once():
    model = tiny_model()
    model.language.requires_grad_(False)
    config = OptimConfig(lr=1.0, new_lr_multiplier=2.0, weight_decay=0.5)
    groups = parameter_groups(model, config, lambda name: name.startswith("itm_head"))
    rates, decays = by_name(groups, "lr_multiplier"), by_name(groups, "weight_decay")
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert rates.keys() == trained
    assert sum(len(group["params"]) for group in groups) == len(trained)
    assert rates["itm_head.0.weight"] == 2.0
    assert rates["bbox_head.0.weight"] == 1.0
    assert decays["itm_head.0.weight"] == 0.5
    assert decays["temperature"] == 0.0


def step_alike(ours, theirs, optimizers):
    """Three steps of optimisers on two models with the same random gradients leave the same weights."""
    for step in range(3):
        torch.manual_seed(step)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_fused_equals_the_reference():
    """The kernel that is chosen on this device against torch's plain loop."""
    ours, reference = tiny_model(), tiny_model()
    config = OptimConfig(lr=1e-2, weight_decay=0.1, eps=1e-3)
    chosen = build_optimizer(ours, config)
    assert chosen.param_groups[0]["fused"]
    how: dict[str, Any] = {"lr": 1e-2, "betas": config.betas, "eps": 1e-3, "foreach": False, "fused": False}
    plain = torch.optim.AdamW(parameter_groups(reference, config), **how)
    step_alike(ours, reference, (chosen, plain))


def test_muon_takes_the_matrices_of_linear_layers_only():
    model = tiny_model()
    config = OptimConfig(lr=1e-3, muon_lr=4e-3, new_lr_multiplier=2.0)
    adamw, muon = build_optimizer(model, config, lambda name: name.startswith("itm_head")).members
    by_muon, by_adamw = (by_name(one.param_groups, "names").keys() for one in (muon, adamw))
    assert not by_muon & by_adamw
    assert by_muon | by_adamw == {name for name, _ in model.named_parameters()}
    assert "vision.blocks.0.fc1.weight" in by_muon
    assert "itm_head.0.weight" in by_muon
    new = build_optimizer(
        model, replace(config, muon_new_only=True), lambda name: name.startswith("itm_head")
    )
    assert by_name(new.members[1].param_groups, "names").keys() == {"itm_head.0.weight"}
    shapes = dict(model.named_parameters())
    for name in by_adamw:
        assert shapes[name].ndim != 2 or any(
            word in name for word in ("embeddings", "relative_position_table", "positions", "_head.")
        ), name


def test_composite_equals_its_members_alone():
    ours, reference = tiny_model(), tiny_model()
    config = OptimConfig(lr=1e-2, muon_lr=3e-2, weight_decay=0.1)
    chosen = build_optimizer(ours, config)
    shown = dict(reference.named_parameters())
    names = [by_name(member.param_groups, "names") for member in chosen.members]
    groups = [
        {"params": [shown[name] for name in own if is_decayed(name, shown[name]) == decayed],
         "weight_decay": 0.1 if decayed else 0.0}
        for own in names
        for decayed in (False, True)
    ]  # fmt: skip
    adamw = torch.optim.AdamW(groups[:2], lr=1e-2, betas=config.betas)
    muon = torch.optim.Muon([g for g in groups[2:] if g["params"]], lr=3e-2, adjust_lr_fn="match_rms_adamw")
    with autocast(Precision.BF16, "cpu"):  # torch's Muon iterates in bfloat16 always
        step_alike(ours, reference, (chosen, adamw, muon))
    chosen.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in ours.parameters())


def test_a_rate_that_does_not_fall_to_zero_is_torchs():
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    theirs = torch.optim.SGD([weight], lr=4e-5)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=16, eta_min=1e-7)
    config = OptimConfig(lr=4e-5, least_lr=1e-7, warmup=4, schedule=Schedule.COSINE)
    ours, progress = torch.optim.SGD([{"params": [weight], "lr_multiplier": 1.0}], lr=1.0), TrainingClock(20)
    for step in range(4, 20):
        assert set_lr(ours, config, step, progress) == pytest.approx(fall.get_last_lr()[0])
        theirs.step()
        fall.step()
    assert set_lr(ours, config, 0, progress) == pytest.approx(1e-5)


def test_layers_learn_as_timm_has_it():
    """timm's groups of its BEiT, with the names of its trunk in a model here."""
    trunk = timm.create_model("beit_base_patch16_224", depth=3, embed_dim=24, num_heads=2, num_classes=5)
    theirs = {
        name: group["lr_scale"]
        for group in param_groups_layer_decay(trunk, layer_decay=0.7)
        for name, p in trunk.named_parameters()
        if any(p is one for one in group["params"])
    }
    model = torch.nn.ModuleDict({"vision": TimmVision.__new__(TimmVision)})
    torch.nn.Module.__init__(model["vision"])
    model["vision"].trunk = trunk
    ours = layer_factors(model, 0.7)
    for name, factor in theirs.items():
        if not name.startswith("head."):
            assert ours[f"vision.trunk.{name}"] == pytest.approx(factor), name


POLYNOMIAL = (3.4445, -4.7750, 2.0315)
SHAPES = ((16, 48), (48, 16), (16, 48), (24, 24), (24, 24), (8, 40))


def trained(kind: type, **more: object) -> list[torch.nn.Parameter]:
    """Matrices after some steps; one of them has no gradient in the second."""
    torch.manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    groups = [{"params": matrices[:3], "weight_decay": 0.1}, {"params": matrices[3:], "weight_decay": 0.0}]
    optimizer = kind(groups, lr=0.02, **more)
    for step in range(4):
        for index, matrix in enumerate(matrices):
            matrix.grad = None if (step, index) == (1, 4) else torch.randn_like(matrix)
        optimizer.step()
    return matrices


def test_it_is_torchs_muon_number_for_number() -> None:
    expected = trained(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
    with autocast(Precision.BF16, "cpu"):
        found = trained(BatchedMuon)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_singular_values_come_near_one(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    found = orthogonalised(torch.randn(2, 5, 60).to(dtype), POLYNOMIAL, 5)
    assert found.dtype is dtype
    values = torch.linalg.svdvals(found.float())
    assert values.min() > 0.3
    assert values.max() < 1.4


@given(
    rows=st.integers(1, 12),
    more=st.integers(0, 40),
    rank=st.integers(1, 12),
    steps=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_float32_is_the_iteration_in_float64(rows: int, more: int, rank: int, steps: int, seed: int) -> None:
    """By the matrices or, of wide ones, by their Gram matrices; of full rank or not."""
    drawn = torch.Generator().manual_seed(seed)
    columns = rows + more
    matrices = torch.randn(2, rows, rank, generator=drawn) @ torch.randn(2, rank, columns, generator=drawn)
    found = orthogonalised(matrices, POLYNOMIAL, steps)
    exact = matrices.double()  # float64 takes the iteration as it is written
    torch.testing.assert_close(found.double(), orthogonalised(exact, POLYNOMIAL, steps), rtol=0, atol=5e-3)


def test_the_formula() -> None:
    """Of a first step; `tests/golden` has more: epsilon before the correction, decay after the step."""
    weight, untouched = nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.ones(4))
    start, weight.grad = weight.detach().clone(), torch.randn(5, 3)
    groups = [{"params": [weight, untouched], "weight_decay": 0.3}]
    PublishedAdamW(groups, lr=0.05, betas=(0.9, 0.98), eps=1e-3).step()
    moved = start - 0.05 * 0.02**0.5 * weight.grad / (0.02**0.5 * weight.grad.abs() + 1e-3)
    torch.testing.assert_close(weight.detach(), moved * (1 - 0.05 * 0.3))
    assert untouched.eq(1).all(), "without gradient nothing decays"
