"""The recipes of the edition `published` say what `published-settings.md` says, row by row.

And what consumes them does: the splits that are read, the operations that vary pictures, pixels, depth.
"""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests.alike import some
from tests.official.image_sets import WRITERS, files_of_split, know_digests
from xfm.config.benchmark import BenchmarkRecipe, Edition, load_benchmark
from xfm.config.finetune import Preset, TuningConfig, TuningMode
from xfm.config.image import Colours, Framing, ImageTrainingConfig, MirrorRule, Operations
from xfm.config.inference import Generation
from xfm.config.load import load_recipe
from xfm.config.task import ImageHead
from xfm.config.tasks import task_spec
from xfm.config.training import Grouping, Schedule
from xfm.data.variation import OWN_OPERATIONS
from xfm.evaluation.benchmarks.published import Protocol, published_results
from xfm.evaluation.benchmarks.registry import BENCHMARKS, recipe_of

TEXT = (Path(__file__).parents[2] / "golden" / "published-settings.md").read_text()
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


def section(heading: str) -> str:
    return TEXT.partition(f"## {heading}")[2].partition("\n## ")[0]


def rows(heading: str) -> list[tuple[str, list[str]]]:
    """The rows of the table below a heading: the benchmark's name, and the other cells."""
    lines = [line.strip("|").split("|") for line in section(heading).splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [(name, one[1:]) for one in cells for name in _names(one[0])]


def _names(cell: str) -> list[str]:
    return [part.strip() for part in re.split(r",", cell)]


TUNED = [row for row in rows("Vision-language") if row[0] != "zero-shot retrieval"]
LINEAR = [row for row in rows("Linear evaluation") if not row[0].startswith("ImageNet")]


@cache
def published(name: str, protocol: Protocol = Protocol.FINE_TUNED) -> BenchmarkRecipe:
    return load_benchmark(recipe_of(name, protocol), edition=Edition.PUBLISHED)


def test_no_row_is_lost() -> None:
    """Every published number has its row, and every row the number that it made."""
    counts = [len(rows(heading)) for heading in ("GLUE", "Vision-language", "Linear evaluation")]
    assert counts == [8, 7, 19]
    told = {NAMES[name] for name, _ in (*rows("GLUE"), *TUNED, *LINEAR)}
    assert told | {"imagenet"} == {row.benchmark for row in published_results()} | {"coco-captions"}


def _is_plain(recipe: BenchmarkRecipe) -> None:
    """What all rows have in common: AdamW alone, every epoch, no preset that adds to it, nothing averaged."""
    settings = recipe.settings
    assert (settings.muon_lr, settings.layer_decay, settings.average, settings.patience) == (0, 1, None, 0)
    assert (settings.preset, settings.time_limit, settings.steps) == (Preset.GOOD, 0, 0)
    assert (settings.gradient_accumulation_steps, settings.class_weights, settings.multi_label) == (
        1,
        "",
        False,
    )


@pytest.mark.parametrize(("name", "cells"), rows("GLUE"), ids=str)
def test_glue(name: str, cells: list[str]) -> None:
    recipe = published(NAMES[name])
    settings = recipe.settings
    assert [settings.lr, recipe.epochs, settings.batch_size] == [float(cell) for cell in cells]
    assert (settings.max_tokens, settings.warmup, settings.weight_decay) == (128, 0.0, 0.0)
    assert (settings.schedule, settings.least_lr, settings.new_lr_multiplier) == (Schedule.LINEAR, 0, 1)
    assert settings.regression == (name == "STS-B")
    assert settings.tune == TuningConfig()
    _is_plain(recipe)


A = ImageTrainingConfig(
    crop=0.5,
    aspect=4 / 3,
    flip=0.5,
    sides=MirrorRule.IGNORE,
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
        expected = replace(A, crop=0.01, aspect=1.0, sides=MirrorRule.SWAP, operations=Operations.COLOUR)
    assert settings.image == expected
    assert settings.rows_per_picture == 1 or not task_spec(BENCHMARKS[NAMES[name]].kind).reads(
        "rows_per_picture"
    )
    assert (settings.framing, settings.colours, settings.grey) == (None, Colours.MODEL, False)
    assert settings.tune == TuningConfig()
    _is_plain(recipe)
    if found_list := re.search(r"shortlist (\d+)", other):
        assert recipe.shortlist == int(found_list[1])
    if answers := re.search(r"of ([\d,]+);", other):
        assert settings.max_answers == int(answers[1].replace(",", ""))
    if "prompt" in other:
        assert f'"{settings.prompt} "' in other
        assert settings.label_smoothing == 0.1
        assert recipe.writing == Generation(min_tokens=5, max_tokens=20, beams=3)


@pytest.mark.parametrize("name", ["coco", "flickr30k"])
def test_zero_shot_retrieval(name: str) -> None:
    """The recipe of the fine-tuning, in pictures of the pre-training."""
    cells = dict(rows("Vision-language"))["zero-shot retrieval"]
    recipe = published(name, Protocol.ZERO_SHOT)
    assert BENCHMARKS[name].editions(Protocol.ZERO_SHOT) == (Edition.PUBLISHED,)
    assert cells == [
        str(load_recipe("base").model.vision.image_size),
        "",
        "",
        "0",
        "",
        f"shortlist {recipe.shortlist}",
    ]
    assert recipe.settings.max_tokens == 40


def test_pictures_in_training() -> None:
    """What A says of crops and operations is what the recipes ask for, and what varies the pictures."""
    said = re.search(r"^A: (.*)$", section("Vision-language"), re.MULTILINE)
    assert said is not None
    words = (
        said[1].replace("equalise", "equalize").replace("rotation", "rotate").replace("shift", "translate")
    )
    pairs = re.sub(r"(\w+) x and y", r"\1_x, \1_y", words)
    listed = re.search(r"out of (.*?)\. Pre-training", pairs)
    assert listed is not None
    assert listed[1].split(", ") == list(OWN_OPERATIONS[Operations.PUBLISHED])
    moving = ("shear", "translate", "rotate")
    still = [name for name in listed[1].split(", ") if not name.startswith(moving)]
    assert still == list(OWN_OPERATIONS[Operations.COLOUR])
    crop = re.search(r"of (\d+) to 100 % of the area", words)
    count = re.search(r"RandAugment of (\d+) operations at magnitude (\d+)", words)
    assert crop is not None
    assert count is not None
    assert (A.crop, A.rand_augment, A.magnitude) == (int(crop[1]) / 100, int(count[1]), int(count[2]))


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
    assert settings.tune == TuningConfig(vision=TuningMode.FREEZE)
    assert settings.image == ImageTrainingConfig(**crop, **plain, label_smoothing=float(cells[3]))


def _is_row(recipe: BenchmarkRecipe, cells: list[str]) -> None:
    settings = recipe.settings
    _is_plain(recipe)
    rate, least = re.fullmatch(r"(\S+?)(?: \(least (\S+)\))?", cells[0]).groups()  # pyright: ignore
    assert (settings.lr, settings.least_lr) == (float(rate), float(least or 0))
    numbers = (settings.batch_size, recipe.epochs, settings.image.label_smoothing)
    assert numbers == tuple(float(cell.replace(",", "")) for cell in cells[1:4])
    assert settings.warmup * recipe.epochs == 10
    assert (settings.weight_decay, settings.schedule) == (0.02, Schedule.COSINE)
    assert (settings.grouping, settings.image_head) == (Grouping.ONE, ImageHead.PUBLISHED)
    assert (settings.image.mixup, settings.image.cutmix) in ((0, 0), (0.8, 1.0))
    assert settings.image_size == 224


@pytest.mark.parametrize(("name", "cells"), some(LINEAR, 3), ids=str)
def test_what_is_trained_on_and_scored(
    name: str, cells: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a data set in miniature, read as the edition reads it; the number that is reported is the top-1."""
    kind = NAMES[name]
    if kind == "pcam":
        pytest.importorskip("h5py")
    WRITERS[kind](tmp_path)
    know_digests(tmp_path, monkeypatch)
    corpus = (BENCHMARKS[kind].published or BENCHMARKS[kind].read)(tmp_path)
    train, test = ({row.image for row in rows} for rows in (corpus.train, corpus.scored["test"]))
    assert not train & test
    assert [*corpus.validation, *corpus.valid] == []
    assert [*corpus.scored] == ["test"]
    if cells[4:] == ["random 80 %", "the other 20 %"]:
        assert len(train) == round(0.8 * len(train | test))
    else:
        assert (train, test) == tuple(files_of_split(tmp_path, kind, cell) for cell in cells[4:])
    metrics = [
        row.metric for row in published_results() if (row.benchmark, row.protocol) == (kind, Protocol.LINEAR)
    ]
    assert metrics == ["accuracy"]


@pytest.mark.parametrize("protocol", [Protocol.LINEAR, Protocol.FINE_TUNED])
def test_imagenet(protocol: Protocol) -> None:
    tuned = protocol is Protocol.FINE_TUNED
    recipe = published("imagenet", protocol)
    _is_row(recipe, dict(rows("Linear evaluation"))[f"ImageNet-1K {protocol.value}"])
    settings, image = recipe.settings, recipe.settings.image
    assert settings.tune.vision is (TuningMode.FULL if tuned else TuningMode.FREEZE)
    assert settings.grey is False
    assert image.drop_path == (None if tuned else 0.0)
    assert (settings.framing, settings.colours) == (Framing.CENTRE, Colours.IMAGENET)
    assert (image.rand_augment, image.magnitude, image.operations) == (2, 9, Operations.TIMM)
    assert (image.erasing, image.mixup, image.cutmix) == (0.25, 0.8 * tuned, 1.0 * tuned)
    assert (image.crop, image.aspect, image.flip) == (0.08, 4 / 3, 0.5)
    ((split, rule),) = {(row.split, row.metric) for row in published_results() if row.benchmark == "imagenet"}
    cells = dict(rows("Linear evaluation"))[f"ImageNet-1K {protocol.value}"]
    assert (cells[4].split(",")[0], cells[5], rule) == ("train", split, "accuracy")
