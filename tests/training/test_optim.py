from dataclasses import replace
from itertools import pairwise

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.optim import param_groups_layer_decay
from transformers import get_linear_schedule_with_warmup

from tests.modeling.build import tiny_model
from xfm.config.training import Grouping, OptimConfig, Precision, Schedule
from xfm.models.library_encoders import TimmVision
from xfm.models.precision import autocast
from xfm.training.clock import TrainingClock
from xfm.training.optim import (
    LR_SCHEDULES,
    build_optimizer,
    is_decayed,
    layer_factors,
    lr_factor,
    parameter_groups,
    set_lr,
)


def by_name(groups, field):
    """A field of the group of every parameter."""
    return {name: group[field] for group in groups for name in group["names"]}


@pytest.mark.parametrize(
    ("name", "shape", "decayed"),
    [
        ("temperature", (1,), False),
        ("vision.cls", (1, 1, 8), False),
        ("vision.pos_embed", (1, 5, 8), False),
        ("text.embeddings.position_embeddings.weight", (5, 8), False),
        ("blocks.0.attn.relative_position_bias_table", (5, 2), False),
        ("embeddings.words.weight", (5, 8), True),
        ("patch_embed.weight", (8, 3, 4, 4), True),
        ("position_head.weight", (5, 8), True),
    ],
)
def test_decay_by_name_and_shape(name, shape, decayed):
    assert is_decayed(name, torch.zeros(shape)) is decayed


def test_no_vector_scalar_or_position_table_is_decayed():
    for name, parameter in tiny_model().named_parameters():
        table = "positions" in name or "relative_position" in name
        assert is_decayed(name, parameter) == (parameter.ndim >= 2 and not table), name


def test_groups_cover_every_trained_parameter_once():
    model = tiny_model()
    model.language.requires_grad_(False)
    config = OptimConfig(lr=1.0, new_lr_multiplier=2.0, weight_decay=0.5)
    groups = parameter_groups(model, config, lambda name: name.startswith("itm_head"))
    rates, decays = by_name(groups, "lr_scale"), by_name(groups, "weight_decay")
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
    config = OptimConfig(lr=1e-2, weight_decay=0.1)
    chosen = build_optimizer(ours, config)
    assert chosen.param_groups[0]["fused"]
    plain = torch.optim.AdamW(
        parameter_groups(reference, config), lr=1e-2, betas=config.betas, foreach=False, fused=False
    )
    step_alike(ours, reference, (chosen, plain))


@settings(deadline=None)
@given(steps=st.integers(1, 500), warmup=st.integers(0, 600))
def test_schedule_rises_then_falls_to_zero(steps, warmup):
    factors = [lr_factor(step, TrainingClock(steps), OptimConfig(warmup=warmup)) for step in range(steps + 1)]
    assert all(0 < factor <= 1 for factor in factors[:-1])
    top = min(warmup, steps)
    assert all(a < b for a, b in pairwise(factors[:top]))
    assert all(a > b for a, b in pairwise(factors[top:]))
    if warmup < steps:
        assert factors[-1] == 0
        assert factors[max(0, warmup - 1)] == pytest.approx(1)


def test_the_peak_is_held():
    held = [lr_factor(step, TrainingClock(105), OptimConfig(warmup=5, hold=0.4)) for step in range(106)]
    assert held[4:45] == [1.0] * 41
    assert held[45:] == pytest.approx([(105 - step) / 60 for step in range(45, 106)])


def rates(steps, schedule_of, **options):
    """The rates of a schedule of torch or transformers for a first rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, found = schedule_of(optimizer, **options), []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_schedule_equals_transformers_except_in_the_warm_up():
    theirs = rates(20, get_linear_schedule_with_warmup, num_warmup_steps=5, num_training_steps=20)
    ours = [lr_factor(step, TrainingClock(20), OptimConfig(warmup=5)) for step in range(20)]
    assert ours[5:] == pytest.approx(theirs[5:])
    assert ours[:5] == pytest.approx(theirs[1:6])  # theirs begins with a step of rate 0


def test_muon_takes_the_matrices_of_linear_layers_only():
    model = tiny_model()
    config = OptimConfig(lr=1e-3, muon_lr=4e-3, new_lr_multiplier=2.0)
    adamw, muon = build_optimizer(model, config, lambda name: name.startswith("itm_head")).members
    by_muon, by_adamw = (by_name(one.param_groups, "names").keys() for one in (muon, adamw))
    assert not by_muon & by_adamw
    assert by_muon | by_adamw == {name for name, _ in model.named_parameters()}
    assert "vision.blocks.0.fc1.weight" in by_muon
    assert "itm_head.0.weight" in by_muon
    shapes = dict(model.named_parameters())
    for name in by_adamw:
        assert shapes[name].ndim != 2 or any(
            word in name for word in ("embeddings", "relative_position_table", "positions", "_head.")
        ), name


@pytest.mark.parametrize(
    ("muon_lr", "expected"), [(0.0, [5e-4]), (4e-3, [5e-4, 2e-3])], ids=["adamw", "muon"]
)
def test_every_optimiser_has_its_rate_and_new_parts_a_multiple(muon_lr, expected):
    config = OptimConfig(lr=1e-3, muon_lr=muon_lr, new_lr_multiplier=2.0, warmup=2)
    optimizer = build_optimizer(tiny_model(), config, lambda name: name.startswith("itm_head"))
    assert set_lr(optimizer, config, 0, TrainingClock(10)) == pytest.approx(5e-4)
    for member, rate in zip(getattr(optimizer, "members", [optimizer]), expected, strict=True):
        assert {round(group["lr"] / rate, 6) for group in member.param_groups} == {1.0, 2.0}


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


def test_a_cosine_falls_as_torch_has_it():
    theirs = rates(16, torch.optim.lr_scheduler.CosineAnnealingLR, T_max=16)
    config = OptimConfig(warmup=4, schedule=Schedule.COSINE)
    ours = [lr_factor(step, TrainingClock(20), config) for step in range(20)]
    assert ours[4:] == pytest.approx(theirs)
    assert ours[:4] == [0.25, 0.5, 0.75, 1.0]


def test_every_schedule_is_a_function_from_the_peak_to_zero():
    assert LR_SCHEDULES.keys() == {*Schedule}
    for schedule in LR_SCHEDULES.values():
        assert (schedule(1.0), schedule(0.0)) == (1.0, 0.0)


def test_a_rate_that_does_not_fall_to_zero_is_torchs():
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    theirs = torch.optim.SGD([weight], lr=4e-5)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=16, eta_min=1e-7)
    config = OptimConfig(lr=4e-5, least_lr=1e-7, warmup=4, schedule=Schedule.COSINE)
    ours, progress = torch.optim.SGD([{"params": [weight], "lr_scale": 1.0}], lr=1.0), TrainingClock(20)
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


def test_layers_of_both_encoders_and_what_comes_after_them():
    names = [name for name, _ in tiny_model().named_parameters()]
    factors = layer_factors(tiny_model(), 0.5)
    assert factors["vision.patch_embed.weight"] == factors["language.embeddings.words.weight"] == 0.125
    first = ("vision.blocks.0.fc1.weight", "language.layers.0.feed_forward.fc1.weight")
    assert [factors[name] for name in first] == [0.25, 0.25]
    assert factors["vision.blocks.1.norm1.weight"] == factors["language.layers.1.attention.norm.bias"] == 0.5
    after = [name for name in names if not name.startswith(("vision.", "language."))]
    assert {factors[name] for name in [*after, "vision.norm.weight"]} == {1.0}
    assert set(layer_factors(tiny_model(), 1.0).values()) == {1.0}


def test_layers_and_new_parts_multiply():
    config = OptimConfig(lr=1e-3, new_lr_multiplier=3.0, layer_decay=0.5, weight_decay=0.1)
    model = tiny_model()
    for optimizer_config in (config, replace(config, muon_lr=2e-3)):
        optimizer = build_optimizer(model, optimizer_config, lambda name: name.startswith("itm_head"))
        set_lr(optimizer, optimizer_config, 2500, TrainingClock(10_000))
        rates = by_name(optimizer.param_groups, "lr")
        scale = 2e-3 if optimizer_config.muon_lr else 1e-3
        assert rates["vision.blocks.1.fc1.weight"] == pytest.approx(scale * 0.5)
        assert rates["vision.blocks.1.fc1.bias"] == pytest.approx(1e-3 * 0.5)
        assert rates["itm_head.0.bias"] == pytest.approx(3e-3)


def test_one_group_takes_all():
    config = OptimConfig(lr=1e-3, new_lr_multiplier=3.0, weight_decay=0.1, grouping=Grouping.ONE)
    (group,) = parameter_groups(tiny_model(), config, lambda name: name.startswith("itm_head"))
    assert (group["weight_decay"], group["lr_scale"]) == (0.1, 1.0)
    assert group["names"] == [name for name, _ in tiny_model().named_parameters()]


@pytest.mark.parametrize(
    "wrong",
    [
        {"published": True, "schedule": Schedule.COSINE},
        {"published": True, "layer_decay": 0.9},
        {"grouping": Grouping.ONE, "muon_lr": 1e-3},
        {"grouping": Grouping.ONE, "layer_decay": 0.9},
    ],
)
def test_settings_that_exclude_each_other(wrong):
    with pytest.raises(ValueError, match=r"layer_decay|schedule|muon_lr"):
        OptimConfig(**wrong)
