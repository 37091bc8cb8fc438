"""Plans: laws of the ladder and the table; memory and operations beside those of real steps on this CPU."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks.plan import measured, narrow, predicted

from tests.alike import some, thorough
from tests.training.ranks import OnePhase, global_batch
from tests.training.support import called, model_with_dropout
from xfm.cli.main import main
from xfm.config.load import load_recipe
from xfm.config.model import MimTarget
from xfm.config.planning import PlanConfig
from xfm.config.recipe import Recipe
from xfm.config.training import (
    ActivationCheckpointing,
    LossConfig,
    NegativesConfig,
    Precision,
    TrainingConfig,
)
from xfm.models.gradients import PRETRAINING
from xfm.training import pretrain
from xfm.training.distributed import Process
from xfm.training.planning.planner import PretrainingPlan, plan, vector_costs
from xfm.training.planning.step import SourceSizes, StepModel
from xfm.training.pretraining_step import PretrainingStep


@pytest.fixture(scope="module")
def base() -> PretrainingPlan:
    return plan(load_recipe("base"), PlanConfig(gpus=32, gpu="h100", price=2.0))


def test_the_ladder_goes_down_in_memory_and_up_in_time(base: PretrainingPlan) -> None:
    ddp = [rung for rung in base.ladder if "fsdp" not in rung.name]
    sharded = [rung for rung in base.ladder if "fsdp" in rung.name]
    assert len(ddp) == len(sharded) == 10
    for ladder in (ddp, sharded):
        pairs = list(zip(ladder[:6:2], ladder[1:6:2], strict=True))
        for together, apart in pairs:  # a source at a time costs no operations
            assert apart.memory.total < together.memory.total
            assert apart.seconds == pytest.approx(together.seconds)
        for way in ([one for one, _ in pairs], [one for _, one in pairs] + ladder[6:]):
            sizes, times = [rung.memory.total for rung in way], [rung.seconds for rung in way]
            assert sizes == sorted(sizes, reverse=True)
            assert times == pytest.approx(sorted(times), rel=1e-3)  # rows are rounded


def test_shards_hold_a_share_of_parameters_and_moments(base: PretrainingPlan) -> None:
    whole, shards = (one.memory.parts for one in base.ladder if one.name in ("as it is", "fsdp"))
    for name in ("parameters", "moments"):
        assert shards[name] == pytest.approx(whole[name] / 32)
    assert "gradients being sent" not in shards


def test_time_and_cost_follow_from_operations(base: PretrainingPlan) -> None:
    rung = base.ladder[0]
    assert rung.seconds == pytest.approx(rung.flops / (989e12 * 0.35))
    assert rung.hours == pytest.approx(200_000 * rung.seconds / 3600)
    assert rung.cost == pytest.approx(rung.hours * 32 * 2.0)


@thorough
def test_the_options_of_a_rung_are_the_rung(base: PretrainingPlan) -> None:
    for rung in base.ladder[::3]:
        recipe = load_recipe("base", rung.options)
        again = plan(recipe, base.config).ladder[0]
        assert again.memory.total == pytest.approx(rung.memory.total), rung.name
        assert again.flops == pytest.approx(rung.flops), rung.name


@pytest.mark.parametrize(
    ("gpus", "told"), [(1, "torchrun --nproc-per-node 1 "), (12, "torchrun --nnodes 2 --nproc-per-node 6 ")]
)
def test_the_command_starts_as_many_processes_as_were_planned(gpus, told, capsys):
    assert main(["plan", "base", "--gpus", str(gpus), "--gpu-memory", "4000", "--gpu-tflops", "1"]) == 0
    assert told in capsys.readouterr().out


def test_three_updates_hold_the_activations_of_one(base: PretrainingPlan) -> None:
    three = plan(load_recipe("base", ["--training.three_updates", "true"]), base.config)
    assert ["one" in base.notes[0], "three" in three.notes[0], len(three.ladder)] == [True, True, 6]
    sizes = [one.memory.total for one in (base.ladder[1], three.ladder[0], base.ladder[0])]
    assert sizes == sorted(sizes)
    assert three.ladder[0].flops == pytest.approx(base.ladder[0].flops)


AUTO = [  # bytes that are free, what auto comes to, and what is said of it
    (10**12, "none", ""),
    (15 * 10**9, "selective", "selective: a process takes"),
    (10**9, "full", "that it may take"),
    (None, "none", "the free memory is unknown"),
]


@pytest.mark.parametrize(("free", "level", "told"), AUTO)
def test_auto_keeps_what_the_free_memory_has_room_for(free, level, told, monkeypatch, caplog) -> None:
    monkeypatch.setattr(pretrain, "free_memory", lambda: free)
    sizes = [f"--data.{name}.batch_size=8" for name in ("text", "image", "pair", "region")]
    here = Process(0, 1, torch.device("cpu"))
    assert pretrain.checkpointing_of(load_recipe("base", sizes), here).value == level
    assert told in caplog.text
    assert bool(caplog.text) == bool(told)


def test_the_clock_decides_where_the_recipe_says_so() -> None:
    found = plan(load_recipe("nano", ["--training.minutes", "30"]), PlanConfig(gpu="l4"))
    assert found.steps is None
    assert {rung.hours for rung in found.ladder} == {0.5}


def test_the_command_prints_the_ladder_and_writes_json(tmp_path, capsys, base):
    place = tmp_path / "plan.json"
    words = ["plan", "base", "--gpus", "32", "--gpu", "h100", "--price", "2", "--json", str(place)]
    assert main(words) == 0
    shown, written = capsys.readouterr().out, json.loads(place.read_text())
    assert all(rung.name in shown for rung in base.ladder)
    assert f"Take: {base.chosen.name}" in shown
    assert written == json.loads(json.dumps(base.plain()))
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text()
    assert shown.strip() in page, "put this into docs/planning.md, from the command above it"


def test_vectors_cost_what_their_operations_do(capsys) -> None:
    """A layer of a transformer has 24 d^2 operations a token and 4 T d for attention: ViT-B at 224 pixels."""
    assert main(["plan", "base", "--predict", "--gpu", "l4", "--gpus", "2", "--price", "0.5"]) == 0
    assert "a million in" in capsys.readouterr().out
    found = vector_costs(load_recipe("base"), PlanConfig(gpus=2, gpu="l4", price=0.5))["pictures"]
    width, tokens = 768, 197
    by_hand = 12 * tokens * (24 * width**2 + 4 * tokens * width)
    assert found.flops == pytest.approx(by_hand, rel=0.02)
    assert found.cost == pytest.approx(1e6 * found.flops / (121e12 * 0.35) / 3600 * 0.5)


Change = Callable[[Recipe], Recipe]
WITHIN = 0.15
"""What a prediction of memory may be off by, and of operations (those of Muon itself are not counted)."""


def small() -> Recipe:
    """The recipe `base` with everything that takes memory in it, a second's work."""
    recipe = narrow(load_recipe("base", ["--training.precision", "fp32"]), depth=2)
    model, data = recipe.model, recipe.data
    model = replace(
        model,
        vision=replace(model.vision, image_size=96, width=96),
        language=replace(model.language, width=96, mlp_width=384, vocab_size=5000),  # pyright: ignore
        fusion=replace(model.fusion, mlp_width=384),
    )
    patches = replace(data.patch_mask, patches=14, min_block=4)
    data = replace(data, patch_mask=patches, region=replace(data.region, batch_size=8))
    return replace(recipe, model=model, data=replace(data, text=replace(data.text, batch_size=16)))


def training(**changed: object) -> Change:
    return lambda recipe: replace(recipe, training=replace(recipe.training, **changed))  # pyright: ignore


def model(**changed: object) -> Change:
    """Of the fusion encoder and, without depth, of the language encoder."""

    def apply(recipe: Recipe) -> Recipe:
        found = replace(recipe.model, fusion=replace(recipe.model.fusion, **changed))  # pyright: ignore
        if "depth" not in changed:
            found = replace(found, language=replace(found.language, **changed))  # pyright: ignore
        return replace(recipe, model=found)

    return apply


def muon(recipe: Recipe) -> Recipe:
    return training(optim=replace(recipe.training.optim, muon_lr=1e-3))(recipe)


def pixels(recipe: Recipe) -> Recipe:
    changed = replace(recipe, model=replace(recipe.model, pixel_head=True))
    return training(mim_target=MimTarget.PIXELS)(changed)


CASES: dict[str, list[Change]] = {
    "everything": [],
    "activation_checkpointing": [training(activation_checkpointing=ActivationCheckpointing.FULL)],
    "deep fusion": [model(depth=4)],
    "two parts by source": [training(gradient_accumulation_steps=2, sequential_sources=True)],
    "bf16": [training(precision=Precision.BF16)],
    "pixels": [pixels],
    "Muon": [muon],
}


@pytest.mark.parametrize("name", some(CASES, 8))
def test_predictions_are_what_a_step_takes(name: str) -> None:
    recipe = small()
    for change in CASES[name]:
        recipe = change(recipe)
    (memory, flops), seen = predicted(recipe), measured(recipe)
    assert abs(memory.total / seen.peak - 1) < WITHIN, (memory, seen)
    assert abs(flops / seen.flops - 1) < WITHIN, (flops, seen)


WEIGHTS, NEGATIVES = LossConfig(), NegativesConfig(queue_size=12)


def test_remembered_pairs_take_what_is_planned() -> None:
    model = model_with_dropout().eval()
    data: object = OnePhase(WEIGHTS, NEGATIVES)
    step = PretrainingStep([PRETRAINING], MimTarget.STATES, data)  # pyright: ignore[reportArgumentType]
    batch = global_batch(0)
    ((part,),) = step.split(model, [batch], torch.Generator(), called(model))
    step(model, part, torch.Generator())
    held = sum(tensor.nbytes for tensor in step.state_dict().values())
    rows, length = batch.pair.tokens.ids.shape
    sizes = {"pair": SourceSizes(rows, length, masked=1, pictures=rows, everyone=rows)}
    training = TrainingConfig(precision=Precision.FP32)
    planned = StepModel(model.config, training, WEIGHTS, NEGATIVES, training.gradients, fused=False)
    assert planned.cost(sizes).remembered == pytest.approx(held, abs=8)  # where the next one goes
    without = StepModel(model.config, training, WEIGHTS, NegativesConfig(), training.gradients)
    assert without.cost(sizes).remembered == 0
