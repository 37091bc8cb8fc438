"""Every recipe builds, and says what was published."""

import pytest

from xfm.config.benchmark import BenchmarkRecipe, benchmark_recipes, load_benchmark
from xfm.config.generation import BeamSearch
from xfm.config.image import PUBLISHED
from xfm.config.linear import HeadConfig
from xfm.config.options import parse
from xfm.config.plain import to_plain
from xfm.config.task import ImageHead
from xfm.config.training import Grouping, Schedule
from xfm.errors import UserError
from xfm.reproduce.benchmarks import BENCHMARKS
from xfm.reproduce.published import Protocol

SHARED = {"glue", "pictures"}  # what other recipes are based on


@pytest.mark.parametrize("name", benchmark_recipes())
def test_every_recipe_builds(name: str) -> None:
    recipe = load_benchmark(name)
    assert recipe.name == name
    assert recipe.description
    assert (recipe.benchmark in BENCHMARKS) != (name in SHARED)
    assert parse(BenchmarkRecipe, values=to_plain(recipe), source="itself") == recipe
    small = recipe.small()
    assert (small.settings.steps, small.settings.image_size) == (recipe.smoke.steps, 0)
    assert small.settings.lr == recipe.settings.lr


def test_every_fine_tuned_benchmark_has_a_recipe() -> None:
    tuned = {name for name, b in BENCHMARKS.items() if Protocol.FINE_TUNED in b.protocols}
    assert tuned <= set(benchmark_recipes())


@pytest.mark.parametrize(
    ("name", "image", "batch", "epochs", "lr"),
    [
        ("imagenet", 224, 128, 100, 4e-5),
        ("vqa", 480, 24, 10, 2e-5),
        ("nlvr2", 384, 8, 15, 1e-5),
        ("refcoco+", 384, 20, 15, 2e-5),
        ("coco", 384, 32, 10, 3e-5),
        ("flickr30k", 384, 32, 20, 1e-5),
        ("coco-captions", 384, 32, 5, 1e-5),
    ],
)
def test_published_settings(name: str, image: int, batch: int, epochs: float, lr: float) -> None:
    recipe = load_benchmark(name)
    settings = recipe.settings
    found = settings.image_size, settings.batch_size, recipe.epochs, settings.lr
    assert found == (image, batch, epochs, lr)


def test_the_rest_of_what_is_published() -> None:
    """Warm-up and shortlist of retrieval, answers of VQA, and how captions are learned and written."""
    coco, flickr, captions = (load_benchmark(name) for name in ("coco", "flickr30k", "coco-captions"))
    assert [(one.settings.warmup, one.shortlist) for one in (coco, flickr)] == [(0.1, 256)] * 2
    assert load_benchmark("vqa").settings.max_answers == 3129
    assert captions.settings.label_smoothing == 0.1
    assert captions.writing == BeamSearch(min_tokens=5, max_tokens=20, beams=3)
    assert load_benchmark("refcoco+").settings.image.flip == 0.5
    imagenet = load_benchmark("imagenet")
    assert imagenet.epochs * imagenet.settings.warmup == 10
    head = HeadConfig()
    assert (head.batch_size, head.epochs) == (256, 100)


@pytest.mark.parametrize("name", ["mnli", "cola", "mrpc", "qqp", "sst2", "qnli", "rte", "stsb", "wnli"])
def test_glue_stays_in_the_published_ranges(name: str) -> None:
    recipe = load_benchmark(name)
    assert 3 <= recipe.epochs <= 20
    assert 1e-5 <= recipe.settings.lr <= 5e-5
    assert recipe.settings.max_tokens == 128
    assert recipe.settings.batch_size == (16 if name in ("rte", "wnli") else 32)
    assert recipe.settings.regression == (name == "stsb")


def test_imagenet_varies_pictures_as_published() -> None:
    settings = load_benchmark("imagenet").settings
    assert settings.image == PUBLISHED
    assert (settings.schedule, settings.grouping) == (Schedule.COSINE, Grouping.ONE)
    assert settings.image_head is ImageHead.PUBLISHED


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
