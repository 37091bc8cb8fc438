"""Plans: laws of the ladder, the table, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.refusals import expect_refusal
from xfm.cli.main import main
from xfm.config.encoders import TimmVisionConfig
from xfm.config.load import load_recipe
from xfm.config.planning import GPUS, PlanConfig
from xfm.config.training import Strategy
from xfm.training.planning.planner import PretrainingPlan, plan

DRIVER = {
    **{"a10": 23_028, "a100": 81_920, "b200": 183_359, "h100": 81_559, "h200": 143_771, "l4": 23_034},
    **{"l40s": 46_068, "rtx4090": 24_564},
}
"""MiB that nvidia-smi shows of a card."""
PLAIN = ["--training.activation_checkpointing", "none"]
"""The recipe computes some again, so that it fits: the ladder begins before that."""


@pytest.fixture(scope="module")
def base() -> PretrainingPlan:
    return plan(load_recipe("base", PLAIN), PlanConfig(gpus=32, gpu="h100", price=2.0))


def test_the_published_batches_fit_gpus_of_80_gb(base: PretrainingPlan) -> None:
    assert base.chosen is not None
    assert base.chosen.memory.total < 0.9 * 80e9


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
            assert times == sorted(times)


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


def test_the_options_of_a_rung_are_the_rung(base: PretrainingPlan) -> None:
    for rung in base.ladder[::3]:
        recipe = load_recipe("base", [*PLAIN, *rung.options])
        again = plan(recipe, base.config).ladder[0]
        assert again.memory.total == pytest.approx(rung.memory.total), rung.name
        assert again.flops == pytest.approx(rung.flops), rung.name


def test_batches_of_tokens_take_what_texts_of_that_length_take(base: PretrainingPlan) -> None:
    """As many tokens as 8,192 texts of 128; parts of a batch are parts of the tokens."""
    options = [*PLAIN, "--data.text.tokens", str(8192 * 128)]
    found = plan(load_recipe("base", options), base.config)
    for rung, other in zip(found.ladder, base.ladder, strict=True):
        assert rung.memory.total == pytest.approx(other.memory.total), rung.name
        assert rung.flops == pytest.approx(other.flops), rung.name
    accumulated = next(rung for rung in found.ladder if rung.name.endswith("accumulation 4"))
    assert accumulated.options[accumulated.options.index("--data.text.tokens") + 1] == str(2048 * 128)
    assert "--data.text.batch_size" not in accumulated.options


def test_a_larger_gpu_fits_earlier_and_a_small_one_never() -> None:
    recipe = load_recipe("base", PLAIN)
    first = [
        plan(recipe, PlanConfig(gpus=32, gpu="x", gpu_memory=size, gpu_tflops=100)) for size in (2, 4000)
    ]
    assert first[0].chosen is None
    assert first[1].chosen == first[1].ladder[0]


def test_what_the_ladder_cannot_offer_is_said() -> None:
    found = plan(load_recipe("nano"), PlanConfig(gpus=2, gpu="l4"))
    assert not any("fsdp" in rung.name or "accumulation" in rung.name for rung in found.ladder)
    assert [note.split()[0] for note in found.notes] == ["phases", "fsdp"]


def test_the_fastest_that_fits_is_taken() -> None:
    """Where each source alone fits, at the time of all at once, before all is computed again."""
    found = plan(load_recipe("base"), PlanConfig(gpus=32, gpu="x", gpu_memory=67, gpu_tflops=989))
    assert found.chosen is not None
    assert found.chosen.name == "by source"
    assert all(rung.seconds >= found.chosen.seconds for rung in found.ladder if rung.fits)


def test_an_average_of_the_weights_takes_room() -> None:
    plain, averaged = (
        plan(load_recipe("base", ["--training.ema", ema]), PlanConfig(gpus=8)).ladder[0].memory
        for ema in ("0", "0.9999")
    )
    assert averaged.total - plain.total == pytest.approx(plain.parts["parameters"])


def test_contrast_of_many_parts_is_of_all_rows() -> None:
    words = [
        "--training.activation_checkpointing",
        "full",
        "--training.gradient_accumulation_steps",
        "64",
        "--data.pair.batch_size",
        "4096",
    ]
    words += [f"--data.{name}.batch_size=192" for name in ("text", "image", "region")]
    found = plan(load_recipe("base", words), PlanConfig(gpus=8)).ladder[0].memory
    assert found.largest == "activations: contrast"
    assert found.parts[found.largest] > 64**2 * (512 * 4096) * 10


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        (1, "torchrun --nproc-per-node 1 "),
        (8, "torchrun --nproc-per-node 8 "),
        (12, "torchrun --nnodes 2 --nproc-per-node 6 "),
        (32, "torchrun --nnodes 4 --nproc-per-node 8 "),
    ],
)
def test_the_command_starts_as_many_processes_as_were_planned(
    gpus: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "base", "--gpus", str(gpus), "--gpu-memory", "4000", "--gpu-tflops", "1"]) == 0
    assert told in capsys.readouterr().out


def test_a_sharded_recipe_stays_so() -> None:
    recipe = load_recipe("base", PLAIN)
    recipe = replace(recipe, training=replace(recipe.training, strategy=Strategy.FSDP))
    assert not any("fsdp" in rung.name for rung in plan(recipe, PlanConfig(gpus=8)).ladder)


def test_the_clock_decides_where_the_recipe_says_so() -> None:
    found = plan(load_recipe("nano", ["--training.minutes", "30"]), PlanConfig(gpu="l4"))
    assert found.steps is None
    assert {rung.hours for rung in found.ladder} == {0.5}


def test_the_recipe_fits_as_it_is() -> None:
    found = plan(load_recipe("base"), PlanConfig(gpus=32, gpu="h100"))
    assert found.chosen is found.ladder[0]


def test_the_command_prints_the_ladder_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], base: PretrainingPlan
) -> None:
    place = tmp_path / "plan.json"
    words = [
        "plan",
        "--recipe",
        "base",
        "--gpus",
        "32",
        "--gpu",
        "h100",
        "--price",
        "2",
        "--json",
        str(place),
        *PLAIN,
    ]
    assert main(words) == 0
    shown, written = capsys.readouterr().out, json.loads(place.read_text())
    assert all(rung.name in shown for rung in base.ladder)
    assert base.chosen is not None
    assert f"Take: {base.chosen.name}" in shown
    assert written == json.loads(json.dumps(base.plain()))
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text()
    assert shown.strip() in page, "put this into docs/planning.md, from the command above it"


def test_what_a_small_recipe_computes_is_more_than_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "ablation"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("as it is"))
    assert 0 < float(row.split()[5]) < 1, row


def test_batches_that_do_not_divide_are_said_to_lose_samples() -> None:
    found = plan(load_recipe("base", ["--data.pair.batch_size", "1026"]), PlanConfig(gpus=1, gpu="h100"))
    said = [note for note in found.notes if "data.pair.batch_size" in note]
    assert "with accumulation 4 a step takes 1024 of 1026 (data.pair.batch_size is rounded down)" in said
    assert len(said) == 3, "2 divides it; 4, 8, 16 do not"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("base --gpu h10", ("h10", "h100", "--gpu-memory")),
        ("bas", ("bas", "base")),
        ("base --share 2", ("share", "from 0.001 to 1")),
        ("base --gpus 100000", ("base", "100000", "--gpus")),
    ],
)
def test_a_slip_is_one_sentence(
    words: str, named: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words.split()]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert [word for word in named if word not in said] == [], said


def test_encoders_of_other_libraries_are_refused() -> None:
    recipe = load_recipe("base", PLAIN)
    recipe = replace(
        recipe, model=replace(recipe.model, vision=TimmVisionConfig(architecture="vit_base_patch16_224"))
    )
    with expect_refusal("timm", "model.vision"):
        plan(recipe)


def test_published_figures_are_plausible() -> None:
    assert all(0 < gpu.fp32 < gpu.bf16 and gpu.memory > 8 for gpu in GPUS.values())


@pytest.mark.parametrize("name", DRIVER)
def test_no_card_is_taken_for_larger_than_it_is(name: str) -> None:
    assert 1 <= DRIVER[name] * 2**20 / GPUS[name].bytes < 1.08
