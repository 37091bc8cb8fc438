"""Every recipe builds, and the published ones say what `published-settings.md` says, row by row."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from xfm.config.benchmark import BenchmarkRecipe, Edition, benchmark_recipes, load_benchmark
from xfm.config.finetune import Tuning
from xfm.config.generation import BeamSearch
from xfm.config.image import ImageTrainingConfig, Operations, Sides
from xfm.config.load import load_recipe
from xfm.config.options import parse
from xfm.config.pixels import Colours, Framing
from xfm.config.plain import to_plain
from xfm.config.task import ImageHead
from xfm.config.training import Grouping, Schedule
from xfm.errors import UserError
from xfm.reproduce.benchmark import recipe_of
from xfm.reproduce.benchmarks import BENCHMARKS
from xfm.reproduce.published import Protocol, published_results

SHARED = {"glue", "pictures", "linear"}  # what other recipes are based on
TEXT = (Path(__file__).parents[1] / "golden" / "published-settings.md").read_text()
NAMES = {
    **{"CoLA": "cola", "MRPC": "mrpc", "STS-B": "stsb", "RTE": "rte", "MNLI": "mnli", "QQP": "qqp"},
    **{"SST-2": "sst2", "QNLI": "qnli", "COCO retrieval": "coco", "Flickr30k retrieval": "flickr30k"},
    **{
        "VQA v2 + VG": "vqa",
        "NLVR2": "nlvr2",
        "RefCOCO+ boxes": "refcoco+",
        "COCO captions": "coco-captions",
    },
    **{"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "MNIST": "mnist", "Food-101": "food101"},
    **{"FGVC Aircraft": "fgvc-aircraft", "DTD": "dtd", "Oxford-IIIT Pet": "oxford-pets"},
    **{"Country211": "country211", "Stanford Cars": "stanford-cars", "SUN397": "sun397"},
    **{"Caltech101": "caltech101", "Flowers102": "flowers102", "GTSRB": "gtsrb", "STL-10": "stl10"},
    **{"FER2013": "fer2013", "PCam": "pcam", "Rendered SST-2": "rendered-sst2"},
}


def rows(heading: str) -> list[tuple[str, list[str]]]:
    """The rows of the table below a heading: the benchmark's name, and the other cells."""
    section = TEXT.partition(f"## {heading}")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [(name, one[1:]) for one in cells for name in _names(one[0])]


def _names(cell: str) -> list[str]:
    return [part.strip() for part in re.split(r",", cell)]


@cache
def loaded(name: str, edition: Edition) -> BenchmarkRecipe:
    return load_benchmark(name, edition=edition)


def published(name: str, protocol: Protocol = Protocol.FINE_TUNED) -> BenchmarkRecipe:
    return loaded(recipe_of(name, protocol), Edition.PUBLISHED)


@pytest.mark.parametrize(
    ("edition", "name"), [(edition, name) for edition in Edition for name in benchmark_recipes(edition)]
)
def test_every_recipe_builds(edition: Edition, name: str) -> None:
    recipe = loaded(name, edition)
    assert recipe.name == name
    assert recipe.description
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


# ---------------------------------------------------------------- the copy of the settings, row by row
@pytest.mark.parametrize(("name", "cells"), rows("GLUE"), ids=str)
def test_glue(name: str, cells: list[str]) -> None:
    recipe = published(NAMES[name])
    settings = recipe.settings
    assert [settings.lr, recipe.epochs, settings.batch_size] == [float(cell) for cell in cells]
    assert (settings.max_tokens, settings.warmup, settings.weight_decay) == (128, 0.0, 0.0)
    assert settings.schedule is Schedule.LINEAR
    assert settings.regression == (name == "STS-B")


TUNED = [row for row in rows("Vision-language") if row[0] != "zero-shot retrieval"]
A = ImageTrainingConfig(
    crop=0.5,
    aspect=4 / 3,
    flip=0.5,
    sides=Sides.IGNORE,
    rand_augment=2,
    magnitude=7,
    operations=Operations.PUBLISHED,
)
"""RandomResizedCrop of 50 to 100 % of the area, flip, two of ten operations at magnitude 7."""


@pytest.mark.parametrize(("name", "cells"), TUNED, ids=str)
def test_vision_language(name: str, cells: list[str]) -> None:
    recipe = published(NAMES[name])
    settings = recipe.settings
    pixels, batch, rate, epochs, pictures, other = cells
    found = [settings.image_size, settings.batch_size, settings.lr, recipe.epochs]
    assert found == [float(cell) for cell in (pixels, batch, rate, epochs)]
    assert (settings.warmup, settings.weight_decay, settings.new_lr_multiplier) == (0.1, 0.01, 2.0)
    assert (settings.schedule, settings.published, settings.max_tokens) == (Schedule.LINEAR, True, 40)
    expected = {"A with flip": A, "A without flip": replace(A, flip=0.0)}.get(pictures)
    if expected is None:  # crops that keep the box, words left and right true, nothing that moves pixels
        assert name == "RefCOCO+ boxes"
        expected = replace(A, crop=0.01, aspect=1.0, sides=Sides.SWAP, operations=Operations.COLOUR)
    assert settings.image == expected
    if found_list := re.search(r"shortlist (\d+)", other):
        assert recipe.shortlist == int(found_list[1])
    if answers := re.search(r"of ([\d,]+);", other):
        assert settings.max_answers == int(answers[1].replace(",", ""))
    if "prompt" in other:
        assert f'"{settings.prompt} "' in other
        assert settings.label_smoothing == 0.1
        assert recipe.writing == BeamSearch(min_tokens=5, max_tokens=20, beams=3)


def test_what_stands_in_other_rows() -> None:
    """Zero-shot retrieval re-ranks as many, and the decoder of answers is as deep as the fusion encoder."""
    assert dict(rows("Vision-language"))["zero-shot retrieval"][-1] == "shortlist 256"
    assert BenchmarkRecipe().shortlist == 256
    assert "decoder of 12 layers" in dict(rows("Vision-language"))["VQA v2 + VG"][-1]
    assert load_recipe("base").model.fusion.depth == 12


LINEAR = [row for row in rows("Linear evaluation") if not row[0].startswith("ImageNet")]


@pytest.mark.parametrize(("name", "cells"), LINEAR, ids=str)
def test_linear_evaluation(name: str, cells: list[str]) -> None:
    recipe = published(NAMES[name], Protocol.LINEAR)
    _is_row(recipe, cells)
    settings = recipe.settings
    whole = name in ("MNIST", "FER2013")
    assert settings.framing is (Framing.SQUASH if whole else Framing.CLOSE_CENTRE)
    assert settings.colours is Colours.HALF
    assert settings.grey == (name == "Caltech101")  # the two others are grey already
    crop = {"crop": 1.0, "aspect": 1.0} if whole else {"crop": 0.08, "aspect": 4 / 3}
    plain = {"flip": 0.5, "drop_path": 0.0}
    assert settings.image == ImageTrainingConfig(**crop, **plain, label_smoothing=float(cells[3]))


def _is_row(recipe: BenchmarkRecipe, cells: list[str]) -> None:
    """What every row of the table says, and what stands above it."""
    settings = recipe.settings
    rate, least = re.fullmatch(r"(\S+?)(?: \(least (\S+)\))?", cells[0]).groups()  # pyright: ignore
    assert (settings.lr, settings.least_lr) == (float(rate), float(least or 0))
    numbers = (settings.batch_size, recipe.epochs, settings.image.label_smoothing)
    assert numbers == tuple(float(cell.replace(",", "")) for cell in cells[1:4])
    assert settings.warmup * recipe.epochs == 10
    assert (settings.weight_decay, settings.schedule) == (0.02, Schedule.COSINE)
    assert (settings.grouping, settings.image_head) == (Grouping.ONE, ImageHead.PUBLISHED)
    assert (settings.image.mixup, settings.image.cutmix) in ((0, 0), (0.8, 1.0))
    assert settings.image_size == 224


@pytest.mark.parametrize("protocol", [Protocol.LINEAR, Protocol.FINE_TUNED])
def test_imagenet(protocol: Protocol) -> None:
    tuned = protocol is Protocol.FINE_TUNED
    recipe = published("imagenet", protocol)
    _is_row(recipe, dict(rows("Linear evaluation"))[f"ImageNet-1K {protocol.value}"])
    settings, image = recipe.settings, recipe.settings.image
    assert settings.tune.vision is (Tuning.FULL if tuned else Tuning.FREEZE)
    assert (settings.framing, settings.colours) == (Framing.CENTRE, Colours.IMAGENET)
    assert (image.rand_augment, image.magnitude, image.operations) == (2, 9, Operations.TIMM)
    assert (image.erasing, image.mixup, image.cutmix) == (0.25, 0.8 * tuned, 1.0 * tuned)
    assert (image.crop, image.aspect, image.flip) == (0.08, 4 / 3, 0.5)


# ---------------------------------------------------------------- what recipes can do
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
