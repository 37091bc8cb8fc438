"""The recorded optimiser: groups, schedule and six steps, by the option `published`."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.golden.compare import native_name, published_names
from tests.golden.recorded import Recorded
from xfm.config.recipe import Recipe
from xfm.config.training import LossConfig, OptimConfig, TrainingConfig
from xfm.interop.published.names import layout
from xfm.interop.published.spare import spare
from xfm.modeling.gradients import PRETRAINING
from xfm.modeling.task_models import TaskModel
from xfm.objectives import vision_text
from xfm.objectives.step import pretraining_losses
from xfm.training.optim import build_optimizer, parameter_groups, set_rate
from xfm.training.pretrain import is_new_part
from xfm.training.published_optim import published_rate_factor

TASKS = ["pretrain", "cls_text", "nlvr", "retrieval", "grounding", "vqa"]


def new_parts(recorded: Recorded, module: nn.Module, named: list[str]) -> set[str]:
    """The parameters that the record lists as new, by their names here."""
    task = module.task if isinstance(module, TaskModel) else None
    return {e.native for e in layout(recorded.config, task) if set(e.published) & set(named)}


@pytest.mark.parametrize("task", TASKS)
def test_groups(recorded: Recorded, task: str) -> None:
    wanted = recorded.json("optimizer_groups.json")[task]
    module = recorded.model() if task == "pretrain" else recorded.task_model(task)
    new = new_parts(recorded, module, wanted["init_params"])
    optim = OptimConfig(
        lr=wanted["base_lr"],
        weight_decay=wanted["base_weight_decay"],
        new_lr_multiplier=wanted["lr_mult"],
        published=True,
    )
    recipe = Recipe(training=TrainingConfig(optim=optim))

    def is_new(name: str) -> bool:
        listed = native_name(name, module) in new
        assert task != "pretrain" or listed == is_new_part(name, recipe), name
        return listed

    ours = {}
    for group in parameter_groups(module, optim, is_new):
        named = dict(zip(group["names"], group["params"], strict=True))
        for name in published_names(named, module, recorded.config):
            ours[name] = (group["weight_decay"], optim.lr * group["lr_scale"])
    theirs = {name: wanted["groups"][number] for name, number in wanted["group_of"].items()}
    for name, group in ours.items():
        assert group == pytest.approx((theirs[name]["weight_decay"], theirs[name]["lr"])), name
    if not isinstance(module, TaskModel):
        assert theirs.keys() - ours.keys() == spare(recorded.config).unused & theirs.keys()


def test_schedule(recorded: Recorded) -> None:
    for name, case in recorded.json("schedule.json").items():
        arguments = case["args"]
        steps, warmup = arguments["epochs"] * arguments["step_per_epoch"], arguments["num_warmup_steps"]
        warmup = int(steps * warmup) if isinstance(warmup, float) else warmup
        ours = [published_rate_factor(step, steps, warmup) for step in range(len(case["lr_factor_at_step"]))]
        assert ours == pytest.approx(case["lr_factor_at_step"], abs=1e-8), name


def test_six_steps(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = recorded.json("train_trajectory.json")
    settings, model = wanted["settings"], recorded.model()
    config = OptimConfig(
        lr=settings["lr"],
        new_lr_multiplier=settings["lr_mult"],
        betas=tuple(settings["betas"]),
        weight_decay=settings["weight_decay"],
        warmup=settings["num_warmup_steps"],
        clip=settings["clip_grad_norm"],
        published=True,
    )
    new = new_parts(recorded, model, settings["init_params"])
    optimizer = build_optimizer(model, config, new.__contains__)
    monkeypatch.setattr(vision_text, "draw_negatives", lambda *_: recorded.negatives())
    names = {"itc": "pair/itc", "itm": "pair/itm", "mlm": "pair/imlm", "mim": "pair/mim"}
    for step, line in enumerate(wanted["steps"]):
        set_rate(optimizer, config, step, settings["num_training_steps"])
        rates = {group["lr"] for group in optimizer.param_groups}
        assert sorted(rates) == pytest.approx(sorted(set(line["lr_groups"])), abs=1e-12)
        losses = pretraining_losses(
            model, recorded.pair_batch(), PRETRAINING, LossConfig(), torch.Generator()
        )
        optimizer.zero_grad()
        losses.total.backward()
        assert losses.total.item() == pytest.approx(line["loss_total"], rel=1e-4), step
        for theirs, name in names.items():
            assert losses.parts[name].item() == pytest.approx(line[f"loss_{theirs}"], rel=1e-4, abs=1e-6), (
                step
            )
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        assert norm.item() == pytest.approx(line["grad_norm_before_clip"], rel=1e-4), step
        optimizer.step()
        assert model.temperature.item() == pytest.approx(line["temp_after"], rel=1e-5), step

    ours = published_names(dict(model.named_parameters()), model, recorded.config)
    unused = spare(recorded.config).unused
    for name, (norm, total) in wanted["final_params"].items():
        if name in unused or name.endswith(".key.bias"):  # moved by the rounding of a gradient that is zero
            continue
        assert ours[name].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), name
        assert ours[name].sum().item() == pytest.approx(total, rel=1e-4, abs=1e-4 * max(norm, 1.0)), name


def test_muon_and_a_hold_are_no_part_of_it() -> None:
    for change in ({"muon_lr": 1e-3}, {"hold": 0.5}):
        with pytest.raises(ValueError, match="published"):
            replace(OptimConfig(published=True), **change)
