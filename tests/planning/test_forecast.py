"""The formulas of memory and operations, beside what torch keeps and computes in real steps on this CPU."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from benchmarks.plan import measured, narrow, predicted

from tests.alike import some
from xfm.config.load import load_recipe
from xfm.config.model import MimTarget
from xfm.config.recipe import Recipe
from xfm.config.training import ActivationCheckpointing, LossConfig, Precision

Change = Callable[[Recipe], Recipe]
WITHIN = 0.15
"""What a prediction of memory may be off by, and of operations (those of Muon itself are not counted)."""


def small() -> Recipe:
    """The recipe `base` with everything that takes memory in it, a second's work."""
    recipe = narrow(load_recipe("base", ["--training.precision", "fp32"]), depth=2)
    model, data = recipe.model, recipe.data
    model = replace(
        model,
        vision=replace(model.seeing, image_size=96, width=96),
        language=replace(model.language, width=96, mlp_width=384, vocab_size=5000),  # pyright: ignore
        fusion=replace(model.fusing, mlp_width=384),
    )
    patches = replace(data.patch_mask, patches=14, min_block=4)
    data = replace(data, patch_mask=patches, region=replace(data.region, batch_size=8))
    return replace(recipe, model=model, data=replace(data, text=replace(data.text, batch_size=16)))


def training(**changed: object) -> Change:
    return lambda recipe: replace(recipe, training=replace(recipe.training, **changed))  # pyright: ignore


def model(**changed: object) -> Change:
    """Of the fusion encoder and, without depth, of the language encoder."""

    def apply(recipe: Recipe) -> Recipe:
        found = replace(recipe.model, fusion=replace(recipe.model.fusing, **changed))  # pyright: ignore
        if "depth" not in changed:
            found = replace(found, language=replace(found.language, **changed))  # pyright: ignore
        return replace(recipe, model=found)

    return apply


def muon(recipe: Recipe) -> Recipe:
    return training(optim=replace(recipe.training.optim, muon_lr=1e-3))(recipe)


def pixels(recipe: Recipe) -> Recipe:
    changed = replace(recipe, model=replace(recipe.model, pixel_head=True))
    return training(mim_target=MimTarget.PIXELS)(changed)


CONTRAST = LossConfig(mlm=0, itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
NO_WORDS = LossConfig(mlm=0, imlm=0)
CASES: dict[str, list[Change]] = {
    "everything": [],
    "no dropout": [model(dropout=0.0)],
    "between": [training(activation_checkpointing=ActivationCheckpointing.SELECTIVE)],
    "activation_checkpointing": [training(activation_checkpointing=ActivationCheckpointing.FULL)],
    "deep fusion": [model(depth=4)],
    "by source": [training(sequential_sources=True)],
    "two parts": [training(gradient_accumulation_steps=2)],
    "two parts by source": [training(gradient_accumulation_steps=2, sequential_sources=True)],
    "no masked words": [training(weights=NO_WORDS)],
    "bf16": [training(precision=Precision.BF16)],
    "pixels": [pixels],
    "contrast alone": [training(weights=CONTRAST)],
    "Muon": [muon],
}


@pytest.mark.parametrize("name", some(CASES, 5))
def test_predictions_are_what_a_step_takes(name: str) -> None:
    recipe = small()
    for change in CASES[name]:
        recipe = change(recipe)
    said, seen = predicted(recipe), measured(recipe)
    assert abs(said.memory.total / seen.peak - 1) < WITHIN, (said.memory, seen)
    assert abs(said.flops / seen.flops - 1) < WITHIN, (said.flops, seen)
