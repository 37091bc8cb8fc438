import re
from collections import Counter
from functools import cache

import numpy as np
import pytest

from xfm.config.benchmark import SMOKE_STEPS, BenchmarkRecipe, Edition, benchmark_recipes, load_benchmark
from xfm.config.options import parse
from xfm.config.plain import to_plain
from xfm.evaluation.benchmarks.published import published_results, table_lines
from xfm.evaluation.benchmarks.registry import BENCHMARKS

ROWS = {row.key(): row for row in published_results()}


def test_numbers_are_those_of_the_paper() -> None:
    """One of each table, read off the paper again."""
    for key, numbers in {
        "mnli/FT/published/mean/accuracy": (87.7, 87.7, 87.6, "RoBERTa"),
        "qnli/FT/published/dev/accuracy": (92.9, 92.8, 93.2, "mPLUG-2"),
        "imagenet/LE/published/val/accuracy": (81.0, 81.2, 80.6, "SimVLM"),
        "fgvc-aircraft/LE/published/test/accuracy": (None, 47.4, 59.5, "CLIP"),
        "vqa/FT/published/test-std/accuracy": (79.2, 80.4, 80.2, "X2-VLM"),
        "nlvr2/FT/published/test-P/accuracy": (86.5, 88.4, 87.0, "X2-VLM"),
        "refcoco+/FT/published/testB/acc50": (79.1, 79.8, 78.4, "X2-VLM"),
        "flickr30k/ZS/published/test/text_r1": (90.1, 93.4, 90.5, "ALBEF"),
        "coco/FT/published/test/image_r10": (91.6, 92.4, 92.2, "X2-VLM"),
        "sugarcrepe/ZS/published/swap_att/accuracy_contrast": (None, None, 63.96, "CLIP ViT-B/32"),
    }.items():
        row = ROWS[key]
        assert (row.xfm_4m, row.xfm_13b, row.other, row.other_model) == numbers
    assert len(ROWS) == 58 + 48


def test_parts_of_winoground_are_its_whole() -> None:
    """Of 141 cases of objects, 233 of relations, 26 of both."""
    for name, whole in ROWS.items():
        if name.startswith("winoground/ZS/published/test/"):
            parts = [
                ROWS[name.replace("/test/", f"/{part}/")].other for part in ("object", "relation", "both")
            ]
            assert np.dot(parts, [141, 233, 26]) / 400 == pytest.approx(whole.other, abs=0.01)


def test_every_row_is_a_benchmark_that_can_be_run_so() -> None:
    for row in ROWS.values():
        benchmark = BENCHMARKS[row.benchmark]
        assert row.protocol in benchmark.protocols
        assert (Edition.PUBLISHED in benchmark.editions(row.protocol)) == (not benchmark.composed)
        assert all(n is None or 0 < n <= 100 for n in (row.xfm_4m, row.xfm_13b, row.other))
    assert Counter(row.protocol.value for row in ROWS.values()) == {"FT": 28, "LE": 18, "ZS": 12 + 48}


def test_ours_stands_beside_what_was_published() -> None:
    ours = {"cola/FT/published/dev/mcc": 0.6543, "refcoco+/FT/published/testA/acc50": 0.5}
    ours |= {"coco/ZS/published/test/text_r5": 0.25, "cola/FT/recommended/dev/mcc": 0.7}
    ours |= {"oxford-pets/LE/published/test/accuracy": 0.91, "oxford-pets/LE/recommended/test/accuracy": 0.92}
    ours |= {"oxford-pets/LE/recommended/test/mean_per_class": 0.93}
    lines = {(line[0], line[1], line[3]): line for line in table_lines(ours)}
    found = {key: line[-3:-1] for key, line in lines.items()}
    assert found["cola", "FT", "MCC"] == ("65.4", "70.0")
    assert found["refcoco+", "FT", "accuracy at IoU 0.5"] == ("- / 50.0 / -", "-")
    assert found["oxford-pets", "LE", "accuracy"] == ("91.0", "93.0")
    assert lines["oxford-pets", "LE", "accuracy"][-1].endswith("; recommended: mean per class")
    assert lines["coco", "ZS", "text R@1 / 5 / 10"][4:-1] == (
        *("73.8 / 93.9 / 97.2", "77.6 / 94.8 / 97.7"),
        *("X2-VLM 71.7 / 93.4 / 97.5", "- / 25.0 / -", "-"),
    )
    assert found["vqa", "FT", "accuracy"] == ("-", "-")


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
    assert recipe.benchmark == ("" if name in SHARED else re.sub("-(linear|domain)$", "", name))
    assert (recipe.benchmark in BENCHMARKS) != (name in SHARED)
    assert bool(recipe.source) == (edition is Edition.PUBLISHED)
    assert parse(BenchmarkRecipe, values=to_plain(recipe), source="itself") == recipe
    small = recipe.small()
    assert (small.settings.steps, small.settings.image_size) == (SMOKE_STEPS, 0)
    assert small.settings.lr == recipe.settings.lr


def test_steps_follow_from_the_epochs() -> None:
    recipe = load_benchmark("nlvr2", ["--epochs", "3"])
    planned = recipe.planned(rows=100)
    assert (planned.steps, planned.evaluate_every) == (39, 13)
    assert recipe.planned(rows=1).steps == 3
    assert load_benchmark("nlvr2", ["--settings.steps", "7"]).planned(100).steps == 7
