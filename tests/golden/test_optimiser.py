"""The recorded optimiser: groups, schedule and steps, by the option `published`."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.golden.compare import is_rounding, native_name, published_names
from tests.golden.recorded import Recorded
from xfm.config.recipe import InitConfig
from xfm.config.training import LossConfig, OptimConfig
from xfm.models.gradients import PRETRAINING
from xfm.models.interop.published.names import layout, spare
from xfm.models.task_models import TaskModel
from xfm.objectives import vision_text
from xfm.objectives.step import pretraining_losses
from xfm.training.clock import TrainingClock
from xfm.training.optim import build_optimizer, lr_factor, parameter_groups, set_lr
from xfm.training.pretrain import new_parts as pretraining_parts

PARTS = {"loss_itc": "pair/itc", "loss_itm": "pair/itm", "loss_mlm": "pair/imlm", "loss_mim": "pair/mim"}


def new_parts(recorded: Recorded, module: nn.Module, named: list[str]) -> set[str]:
    """The parameters that the record lists as new, by their names here."""
    task = module.task if isinstance(module, TaskModel) else None
    return {e.native for e in layout(recorded.config, task) if set(e.published) & set(named)}


def check_groups(
    recorded: Recorded, module: nn.Module, groups: list[dict[str, Any]], wanted: dict[str, dict[str, float]]
) -> None:
    """Weight decay and rate of every parameter; what is left over has no use in the published model."""
    ours: dict[str, dict[str, float]] = {}
    for group in groups:
        named = dict(zip(group["names"], group["params"], strict=True))
        for name in published_names(named, module, recorded.config):
            ours[name] = {"weight_decay": group["weight_decay"], "lr": group["lr"]}
    for name, group in ours.items():
        assert group == pytest.approx(wanted[name]), name
    task = module.task if isinstance(module, TaskModel) else None
    used = {name for entry in layout(recorded.config, task) for name in entry.published}
    # A task model here has only the encoders that it needs.
    left = wanted.keys() - ours.keys() - (used if task else set())
    assert left <= spare(recorded.config, task)[2]
    assert used <= wanted.keys()


def test_groups(recorded: Recorded, optimised_task: str) -> None:
    wanted, task = recorded.json("optimizer_groups.json")[optimised_task], optimised_task
    module = recorded.model() if task == "pretrain" else recorded.task_model(task)
    new = new_parts(recorded, module, wanted["init_params"])
    optim = OptimConfig(
        lr=wanted["base_lr"],
        weight_decay=wanted["base_weight_decay"],
        new_lr_multiplier=wanted["lr_mult"],
        published=True,
    )
    beginnings = pretraining_parts(InitConfig(), published=True)

    def is_new(name: str) -> bool:
        listed = native_name(name, module) in new
        assert task != "pretrain" or listed == name.startswith(beginnings), name
        return listed

    groups = parameter_groups(module, optim, is_new)
    for group in groups:
        group["lr"] = optim.lr * group["lr_multiplier"]
    theirs = {name: wanted["groups"][number] for name, number in wanted["group_of"].items()}
    check_groups(recorded, module, groups, theirs)
    known = {"init_params", "base_lr", "base_weight_decay", "lr_mult", "groups", "group_of"}
    assert wanted.keys() == known


def warmup_steps(warmup: float, steps: int) -> int:
    return int(steps * warmup) if isinstance(warmup, float) else warmup


def test_schedule(recorded: Recorded) -> None:
    for name, case in recorded.json("schedule.json").items():
        assert case.keys() == {"args", "lr_factor_at_step"}
        arguments = case["args"]
        steps = arguments["epochs"] * arguments["step_per_epoch"]
        warmup = warmup_steps(arguments["num_warmup_steps"], steps)
        clock, config = TrainingClock(steps), OptimConfig(warmup=warmup, published=True)
        ours = [lr_factor(step, clock, config) for step in range(len(case["lr_factor_at_step"]))]
        assert ours == pytest.approx(case["lr_factor_at_step"], abs=1e-8), name


def test_the_recorded_steps(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses before every step, the norm, the rates and the temperature; then every parameter."""
    wanted = recorded.json("train_trajectory.json")
    assert wanted.keys() == {"settings", "steps", "final_params", "group_of", "float64_loss_total"}
    settings, model = wanted["settings"], recorded.model()
    steps = settings["num_training_steps"]
    config = OptimConfig(
        lr=settings["lr"],
        new_lr_multiplier=settings["lr_mult"],
        betas=tuple(settings["betas"]),
        weight_decay=settings["weight_decay"],
        warmup=warmup_steps(settings["num_warmup_steps"], steps),
        eps=settings["eps"],
        clip=settings["clip_grad_norm"],
        published=True,
    )
    optimizer = build_optimizer(
        model, config, new_parts(recorded, model, settings["init_params"]).__contains__
    )
    monkeypatch.setattr(vision_text, "draw_negatives", lambda *_: recorded.negatives())
    lines = zip(wanted["steps"], wanted["float64_loss_total"], strict=True)
    for step, (line, precise) in enumerate(lines):
        assert line["step"] == step
        set_lr(optimizer, config, step, TrainingClock(steps))
        check_rates(recorded, model, optimizer, wanted, line)
        losses = pretraining_losses(
            model, recorded.pair_batch(), PRETRAINING, LossConfig(), torch.Generator()
        )
        optimizer.zero_grad()
        losses.total.backward()
        # What float32 loses on the way is in the record: steps amplify it.
        noise = 3 * abs(precise / line["loss_total"] - 1)
        rel = max(1e-4, noise)
        found = {"loss_total": losses.total} | {name: losses.terms[part] for name, part in PARTS.items()}
        for name, loss in found.items():
            assert loss.item() == pytest.approx(line[name], rel=rel, abs=1e-6), (step, name)
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        assert norm.item() == pytest.approx(line["grad_norm_before_clip"], rel=rel), step
        optimizer.step()
        assert model.temperature.item() == pytest.approx(line["temp_after"], rel=max(1e-5, noise)), step
        assert line.keys() == found.keys() | {"step", "grad_norm_before_clip", "lr_groups", "temp_after"}
    check_parameters(recorded, dict(model.named_parameters()), model, wanted)


def check_rates(
    recorded: Recorded,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    wanted: dict[str, Any],
    line: dict[str, Any],
) -> None:
    """The groups are those of the record, with its rates of this step."""
    groups = recorded.json("optimizer_groups.json")["pretrain"]["groups"]
    decay = wanted["settings"]["weight_decay"]
    rates = [
        {"weight_decay": decay if group["weight_decay"] else 0.0, "lr": rate}
        for group, rate in zip(groups, line["lr_groups"], strict=True)
    ]
    theirs = {name: rates[number] for name, number in wanted["group_of"].items()}
    check_groups(recorded, model, optimizer.param_groups, theirs)


def check_parameters(
    recorded: Recorded, parameters: dict[str, Tensor], model: nn.Module, wanted: dict[str, Any]
) -> None:
    """Norm and sum of every parameter after the last step."""
    ours = {n: p.detach() for n, p in published_names(parameters, model, recorded.config).items()}
    ours |= {name: recorded.checkpoint[name] for name in spare(recorded.config)[2]}  # never moved
    moved = 2 * sum(max(line["lr_groups"]) for line in wanted["steps"])
    for name, (norm, total) in wanted["final_params"].items():
        size = math.sqrt(ours[name].numel())
        # The rounding of a gradient that is zero moves a parameter by the rate, whatever its size.
        rounding = moved * size if is_rounding(name) else 0.0
        found = ours[name].double()
        assert found.norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6 + rounding), name
        slack = 1e-4 * max(norm, 1.0) + rounding * size
        assert found.sum().item() == pytest.approx(total, rel=1e-4, abs=slack), name


def test_muon_and_a_hold_are_no_part_of_it() -> None:
    for change in ({"muon_lr": 1e-3}, {"hold": 0.5}):
        with pytest.raises(ValueError, match="published"):
            replace(OptimConfig(published=True), **change)
