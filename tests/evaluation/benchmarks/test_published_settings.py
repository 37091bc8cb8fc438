"""The recipes say what `published-settings.md` says, cell by cell: a cell that no test reads is a failure.

And what consumes them does: the splits that are read, the operations that vary pictures, pixels, depth.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.official.image_sets import WRITERS, files_of_split, know_digests
from xfm.config.benchmark import BenchmarkRecipe, Edition, load_benchmark
from xfm.config.data import Augmentation
from xfm.config.finetune import Preset, TuningConfig, TuningMode
from xfm.config.image import NORMALISATIONS, Colours, Framing, ImageTrainingConfig, MirrorRule, Operations
from xfm.config.inference import Generation
from xfm.config.load import load_recipe
from xfm.config.task import ImageHead
from xfm.config.tasks import task_spec
from xfm.config.training import Grouping, LearningRates, Schedule
from xfm.data.transforms import image_view
from xfm.data.variation import GEOMETRIC, OWN_OPERATIONS
from xfm.evaluation.benchmarks.published import Protocol, published_results, table_lines
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


OPTIMISERS = dict(rows("Optimisers"))
TUNED = [row for row in rows("Vision-language") if row[0] != "zero-shot retrieval"]
LINEAR = [row for row in rows("Linear evaluation") if not row[0].startswith("ImageNet")]


def found(pattern: str, text: str) -> list[float]:
    """The numbers that the groups of a pattern have in a text that holds it once."""
    (match,) = re.finditer(pattern, text)
    return [float(number.replace(",", "")) for number in match.groups()]


@cache
def published(name: str, protocol: Protocol = Protocol.FINE_TUNED) -> BenchmarkRecipe:
    return load_benchmark(recipe_of(name, protocol), edition=Edition.PUBLISHED)


def test_no_row_is_lost() -> None:
    """Every published number has its row, and every row the number that it made."""
    tables = "Optimisers", "GLUE", "Vision-language", "Linear evaluation"
    assert [len(rows(heading)) for heading in tables] == [5, 8, 7, 19]
    told = {NAMES[name] for name, _ in (*rows("GLUE"), *TUNED, *LINEAR)}
    assert told | {"imagenet"} == {row.benchmark for row in published_results()} | {"coco-captions"}


def _is_plain(recipe: BenchmarkRecipe, script: str) -> None:
    """What all rows have in common: AdamW alone, every epoch, no preset that adds to it, nothing averaged."""
    settings = recipe.settings
    assert (settings.muon_lr, settings.layer_decay, settings.average, settings.patience) == (0, 1, None, 0)
    assert (settings.preset, settings.time_limit, settings.steps) == (Preset.GOOD, 0, 0)
    parts = settings.gradient_accumulation_steps, settings.class_weights, settings.multi_label
    assert parts == (1, "", False)
    _optimises(settings, script)


def _optimises(settings: LearningRates, script: str) -> None:
    optimiser, clipping = OPTIMISERS[script]
    defaults = torch.optim.AdamW([torch.zeros(1)]).defaults
    eps = found(r"eps (\S+),", optimiser) if "eps" in optimiser else [defaults["eps"]]
    decay = [0.0] if "no weight decay" in optimiser else found(r"weight decay (\.\d+)", optimiser)
    assert [*settings.betas, settings.eps, settings.weight_decay] == [
        *found(r"betas (\S+) / (\.\d+)", optimiser),
        *eps,
        *decay,
    ]
    assert settings.published == ("transformers" in optimiser)
    assert "none" in clipping
    assert settings.clip == (1.0 if script == "pre-training" else 0.0)  # the accelerator's own setting


@pytest.mark.parametrize(("name", "cells"), rows("GLUE"), ids=str)
def test_glue(name: str, cells: list[str]) -> None:
    recipe = published(NAMES[name])
    settings = recipe.settings
    assert [settings.lr, recipe.epochs, settings.batch_size] == [float(cell) for cell in cells]
    assert (settings.max_tokens, settings.warmup) == (*found(r"\((\d+) tokens", section("GLUE")), 0.0)
    assert (settings.schedule, settings.least_lr, settings.new_lr_multiplier) == (Schedule.LINEAR, 0, 1)
    assert settings.regression == (name == "STS-B")
    assert settings.tune == TuningConfig()
    _is_plain(recipe, "GLUE")


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
LETTERS = replace(A, sides=MirrorRule.LETTERS)
_HALF = 'flipped in half of the cases unless {} the letters "left" or "right"'
PICTURES = {
    "A with flip": A,
    f"A, {_HALF.format('question or answer holds')} (corrected)": LETTERS,
    f'crops that keep the box; {_HALF.format("the phrase holds")} ("bright", too): words are never swapped '
    "(corrected); then RandAugment without shears, shifts and rotations": replace(
        LETTERS, crop=0.01, aspect=1.0, operations=Operations.COLOUR
    ),
}
Check = Callable[[BenchmarkRecipe, tuple[str, ...]], bool]
OTHER: dict[str, Check] = {
    r"shortlist (\d+)": lambda one, said: one.shortlist == int(said[0]),
    r"shortlist (\d+) of ([\d,]+)": lambda one, said: (
        [one.shortlist, one.settings.max_answers] == [int(number.replace(",", "")) for number in said]
    ),
    r"decoder of (\d+) layers at the plain rate": lambda one, said: (
        load_recipe("base").model.fusion.depth == int(said[0])
    ),
    r"label smoothing (\S+)": lambda one, said: one.settings.label_smoothing == float(said[0]),
    r'prompt "(.+) "': lambda one, said: one.settings.prompt == said[0],
    r"beam (\d+), (\d+) to (\d+) tokens with the prompt": lambda one, said: (
        one.writing == Generation(beams=int(said[0]), min_tokens=int(said[1]), max_tokens=int(said[2]))
    ),
    r"before it, `run.py` trains (\d) epochs (?:of captioning )?on the (?:regions|pairs) of pre-training "
    r"\(lr (\S+), (\d+) px, batch (\d+); corrected\)": lambda one, said: (
        [before.epochs, before.settings.lr, before.settings.image_size, before.settings.batch_size]
        == [float(number) for number in said]
        if (before := published(f"{one.name}-domain"))
        else False
    ),
}
"""What the last column says, and whether a recipe does so."""


@pytest.mark.parametrize(("name", "cells"), TUNED, ids=str)
def test_vision_language(name: str, cells: list[str]) -> None:
    recipe, head = published(NAMES[name]), section("Vision-language").splitlines()[0]
    settings, spec = recipe.settings, task_spec(BENCHMARKS[NAMES[name]].kind)
    pixels, batch, rate, epochs, pictures, other = cells
    assert [settings.image_size, settings.batch_size, settings.lr, recipe.epochs] == [
        float(cell) for cell in (pixels, batch, rate, epochs)
    ]
    share, decay, times, tokens = found(
        r"\(linear decay, (\d+) % warm-up, weight decay (\S+), x(\d), at most (\d+) tokens;", head
    )
    assert (settings.warmup, settings.weight_decay, settings.schedule) == (
        share / 100,
        decay,
        Schedule.LINEAR,
    )
    has_decoder = name in ("VQA v2 + VG", "COCO captions")  # "VQA's and captioning's decoders"
    assert settings.new_lr_multiplier == (1.0 if has_decoder else times)
    words = {
        "NLVR2": [*found(r"NLVR2 at most (\d+) words", head), 0.0],
        "VQA v2 + VG": found(r"VQA (\d+) words in training and (\d+) in tests", head),
    }.get(name, [0.0, 0.0])
    assert [settings.max_words, recipe.test_words] == words
    assert settings.max_tokens == tokens or (name == "NLVR2" and settings.max_tokens > 4 * words[0])
    assert settings.image == PICTURES[pictures]
    assert settings.rows_per_picture == 1 or not spec.reads("rows_per_picture")
    assert (settings.framing, settings.colours, settings.grey) == (None, Colours.MODEL, False)
    assert settings.tune == TuningConfig()
    _is_plain(recipe, "vision-language fine-tunings")
    for said in re.split(r"; (?![^(]*\))", other) if other else ():
        ((match, check),) = [
            (match, check) for pattern, check in OTHER.items() if (match := re.fullmatch(pattern, said))
        ]
        assert check(recipe, match.groups()), said


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
    words = said[1].replace("equalise", "equalize").replace("rotation", "rotate")
    (far,) = found(r"shift x and y \(of at most (\d+) pixels at any size: 10 x 7 / 10; corrected\)", words)
    words = re.sub(r"shift x and y \(.*?\)", "translate x and y", words)
    pairs = re.sub(r"(\w+) x and y", r"\1_x, \1_y", words)
    (listed,) = re.findall(r"out of (.*?)\. Pre-training", pairs)
    assert listed.split(", ") == list(OWN_OPERATIONS[Operations.PUBLISHED])
    moving = ("shear", "translate", "rotate")
    still = [name for name in listed.split(", ") if not name.startswith(moving)]
    assert still == list(OWN_OPERATIONS[Operations.COLOUR])
    crop = found(r"of (\d+) to 100 % of the area", words)
    count = found(r"RandAugment of (\d+) operations at magnitude (\d+)", words)
    assert [100 * A.crop, A.rand_augment, A.magnitude] == [*crop, *count]
    (least,) = found(r"Pre-training: the same with (\d+) to 100 %", words)
    views = [
        image_view(np.random.default_rng(seed), (1000, 1000), Augmentation.PUBLISHED, True)
        for seed in range(300)
    ]
    assert least / 100 == pytest.approx(min(one.width * one.height for one in views) / 1e6, abs=0.02)
    shown = [[f"{number:.4f}".lstrip("0") for number in three] for three in NORMALISATIONS["clip"]]
    assert f"Mean {' '.join(shown[0])}, deviation {' '.join(shown[1])}." in words
    for side in (224, 480):
        line = torch.zeros(3, side, side, dtype=torch.uint8)
        line[:, :, 100] = 255
        moved = GEOMETRIC["translate_x"](line, A.magnitude / 10, 1.0)
        assert moved[0, 0].argmax() == 100 + far


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
    plain = {"flip": 0.5, "drop_path": found(r"drop path of (\S+) is", section("Linear evaluation"))[0]}
    assert settings.tune == TuningConfig(vision=TuningMode.FREEZE)
    assert settings.image == ImageTrainingConfig(**crop, **plain, label_smoothing=float(cells[3]))


def _is_row(recipe: BenchmarkRecipe, cells: list[str]) -> None:
    settings = recipe.settings
    _is_plain(recipe, "linear evaluation")
    rate, least = re.fullmatch(r"(\S+?)(?: \(least (\S+)\))?", cells[0]).groups()  # pyright: ignore
    assert (settings.lr, settings.least_lr) == (float(rate), float(least or 0))
    numbers = (settings.batch_size, recipe.epochs, settings.image.label_smoothing)
    assert numbers == tuple(float(cell.replace(",", "")) for cell in cells[1:4])
    assert [settings.warmup * recipe.epochs] == found(
        r"(\d+) epochs of warm-up", section("Linear evaluation")
    )
    assert settings.schedule is Schedule.COSINE
    assert (settings.grouping, settings.image_head) == (Grouping.ONE, ImageHead.PUBLISHED)
    assert (settings.image.mixup, settings.image.cutmix) in ((0, 0), (0.8, 1.0))
    assert settings.image_size == 224


@pytest.mark.parametrize(("name", "cells"), LINEAR, ids=str)
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
    if cells[4] == "random 80 %":
        assert cells[5].startswith("another random 20 %")
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
    cells = dict(rows("Linear evaluation"))[f"ImageNet-1K {protocol.value}"]
    recipe = published("imagenet", protocol)
    _is_row(recipe, cells)
    settings, image = recipe.settings, recipe.settings.image
    assert settings.tune.vision is (TuningMode.FULL if tuned else TuningMode.FREEZE)
    assert settings.grey is False
    assert image.drop_path == (None if tuned else 0.1)
    assert (settings.framing, settings.colours) == (Framing.CENTRE, Colours.IMAGENET)
    assert (image.rand_augment, image.magnitude, image.operations) == (2, 9, Operations.TIMM)
    assert (image.erasing, image.mixup, image.cutmix) == (0.25, 0.8 * tuned, 1.0 * tuned)
    assert (image.crop, image.aspect, image.flip) == (0.08, 4 / 3, 0.5)
    ((split, rule),) = {(row.split, row.metric) for row in published_results() if row.benchmark == "imagenet"}
    trained = "train, mixup .8, cutmix 1, erasing .25, RandAugment m9" if tuned else "train"
    assert (*cells[4:], rule) == (trained, split, "accuracy")


def test_what_is_wrong_with_published_numbers_stands_beside_them() -> None:
    notes = {(line[0], line[1]): line[-1] for line in table_lines({})}
    for key, note in notes.items():
        split_twice = key in (("sun397", "LE"), ("caltech101", "LE"))
        assert ("contaminated" in note) == ("disjoint rows" in note) == split_twice, key
        chosen = key[1] == "LE" or key in (("imagenet", "FT"), ("coco", "FT"), ("flickr30k", "FT"))
        assert ("epoch best on the test rows" in note) == chosen, key
        assert ("five layers" in note) == (key[1] == "LE"), key


def test_pretraining() -> None:
    """Of a device of 32; the three updates and the optimiser are switches, which the recipe leaves off."""
    said = section("Pre-training")
    off = load_recipe("base").training
    assert (off.three_updates, off.optim.published) == (False, False)
    recipe = load_recipe("base", ["--training.three_updates", "true", "--training.optim.published", "true"])
    data, training = recipe.data, recipe.training
    (pairs,) = found(r"Pairs (\d+) a device", said)
    rows_of, pictures, most = found(
        r"regions (\d+) \*rows\* a device out of at most (\d+) pictures with up to (\d) regions", said
    )
    texts, images = found(r"texts (\d+), ImageNet pictures (\d+)", said)
    assert [stream.batch_size / 32 for stream in data.streams.values()] == [texts, images, pairs, pictures]
    assert (data.max_regions, data.mean_regions * pictures) == (most, rows_of)
    assert "Captions are masked token by token" in said
    assert (data.caption_mask.whole_word, data.text_mask.whole_word) == (False, False)
    rate, steps = found(r"updates an iteration at (\S+), .* ([\d,]+) iterations", said)
    assert (training.optim.lr, training.steps) == (rate, steps)
    _optimises(training.optim, "pre-training")
