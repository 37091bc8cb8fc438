"""A recipe of a benchmark: the published settings and a small version of them. Nothing here imports torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from xfm.config.finetune import FinetuneConfig
from xfm.config.inference import Generation
from xfm.config.load import read_recipe, recipe_names
from xfm.config.options import parse
from xfm.config.typed import Limited, limited


class Edition(StrEnum):
    """By whose rules a model is evaluated on a benchmark.

    published: by the settings of X-FM's code (docs/benchmarks.md says which): for the numbers of the paper.
    recommended: as the field does today: the true linear probe, official splits and metrics, settings that
        hold elsewhere.
    """

    PUBLISHED = "published"
    RECOMMENDED = "recommended"


SMOKE_TRAIN_ROWS, SMOKE_TEST_ROWS, SMOKE_STEPS, SMOKE_BATCH = 16, 8, 2, 4
"""What `--smoke` makes of a recipe: the first rows of training and of every other split, and rows a step."""


@dataclass(frozen=True)
class BenchmarkRecipe(Limited):
    """The fine-tuning behind a published number.

    Attributes:
        name: the recipe's name.
        description: what the settings are and where they differ from the published ones.
        source: where they are from.
        benchmark: the benchmark, as `xfm reproduce` names it.
        epochs: how often every training row is seen.
        settings: the fine-tuning; its `steps` and `evaluate_every` follow from `epochs` where they are 0.
        valid_rows: validation rows that choose between the epochs, the first ones; 0 takes all.
        shortlist: candidates that retrieval re-ranks, or answers that are ranked; 0 ranks all.
        test_words: longest question that is scored, in words of any number of tokens; 0: as in training.
        writing: how captions are written when they are scored.
    """

    name: str = "custom"
    description: str = ""
    source: str = ""
    benchmark: str = ""
    epochs: float = limited(10.0, 0)
    settings: FinetuneConfig = field(default_factory=FinetuneConfig)
    valid_rows: int = limited(0, 0)
    shortlist: int = limited(256, 0)
    test_words: int = limited(0, 0)
    writing: Generation = field(default_factory=Generation)

    def planned(self, rows: int) -> FinetuneConfig:
        """The settings, with the steps that the epochs take on a number of training rows."""
        settings = self.settings
        if not settings.batch_size or settings.steps:
            return settings
        each = max(1, math.ceil(rows / settings.batch_size))
        steps = max(1, round(each * self.epochs))
        return replace(settings, steps=steps, evaluate_every=settings.evaluate_every or min(each, steps))

    def small(self) -> "BenchmarkRecipe":
        """The smoke version: few rows and steps, in pictures of the model's own size."""
        settings = replace(
            self.settings,
            steps=SMOKE_STEPS,
            batch_size=SMOKE_BATCH,
            evaluate_every=SMOKE_STEPS,
            image_size=0,
            workers=0,
        )
        return replace(self, settings=settings, shortlist=min(self.shortlist, 4))


def benchmark_recipes(edition: Edition) -> list[str]:
    """Names of the recipes of an edition that come with the package."""
    return recipe_names(f"finetune/{edition}")


def load_benchmark(
    recipe: str | Path, options: Sequence[str] = (), edition: Edition = Edition.RECOMMENDED
) -> BenchmarkRecipe:
    """A recipe of a benchmark, by its name in an edition or as a YAML file, with dotted options as on the
    command line (`["--settings.lr", "1e-5"]`). UserError: an unknown recipe or field, or a wrong type."""
    values = read_recipe(recipe, BenchmarkRecipe, f"finetune/{edition}")
    return parse(BenchmarkRecipe, options, values=values, source=f"recipe {recipe}")
