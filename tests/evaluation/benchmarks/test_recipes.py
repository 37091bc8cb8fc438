"""Every recipe builds, those of both editions."""

from functools import cache

import pytest

from xfm.config.benchmark import BenchmarkRecipe, Edition, benchmark_recipes, load_benchmark
from xfm.config.options import parse
from xfm.config.plain import to_plain
from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.benchmark import recipe_of
from xfm.evaluation.benchmarks.published import Protocol, published_results
from xfm.evaluation.benchmarks.registry import BENCHMARKS

SHARED = {"glue", "pictures", "linear"}  # what other recipes are based on


@cache
def loaded(name: str, edition: Edition) -> BenchmarkRecipe:
    return load_benchmark(name, edition=edition)


@pytest.mark.parametrize(
    ("edition", "name"), [(edition, name) for edition in Edition for name in benchmark_recipes(edition)]
)
def test_every_recipe_builds(edition: Edition, name: str) -> None:
    recipe = loaded(name, edition)
    assert recipe.name == name
    assert recipe.description
    assert recipe.benchmark == ("" if name in SHARED else name.removesuffix("-linear"))
    assert (recipe.benchmark in BENCHMARKS) != (name in SHARED)
    assert bool(recipe.source) == (edition is Edition.PUBLISHED)
    assert parse(BenchmarkRecipe, values=to_plain(recipe), source="itself") == recipe
    small = recipe.small()
    assert (small.settings.steps, small.settings.image_size) == (recipe.smoke.steps, 0)
    assert small.settings.lr == recipe.settings.lr


def test_every_published_number_has_a_published_recipe() -> None:
    wanted = {
        recipe_of(row.benchmark, row.protocol)
        for row in published_results()
        if row.protocol is not Protocol.ZERO_SHOT
    }
    assert wanted <= set(benchmark_recipes(Edition.PUBLISHED))


@pytest.mark.parametrize("name", ["mnli", "cola", "mrpc", "qqp", "sst2", "qnli", "rte", "stsb", "wnli"])
def test_recommended_glue_stays_in_the_papers_ranges(name: str) -> None:
    recipe = loaded(name, Edition.RECOMMENDED)
    assert 3 <= recipe.epochs <= 20
    assert 1e-5 <= recipe.settings.lr <= 5e-5
    assert recipe.settings.max_tokens == 128


def test_steps_follow_from_the_epochs() -> None:
    recipe = load_benchmark("nlvr2", ["--epochs", "3"])
    planned = recipe.planned(rows=100)
    assert (planned.steps, planned.evaluate_every) == (39, 13)
    assert recipe.planned(rows=1).steps == 3
    assert load_benchmark("nlvr2", ["--settings.steps", "7"]).planned(100).steps == 7


def test_options_and_mistakes() -> None:
    assert load_benchmark("vqa", ["--settings.lr", "1e-4"]).settings.lr == 1e-4
    with pytest.raises(UserError, match="unknown recipe nlvr3; did you mean nlvr"):
        load_benchmark("nlvr3")
