"""The recipes say what `published-settings.md` says: its cells and sentences are written anew from what the
recipes resolve to, and compared.

And what consumes them does: the splits that are read, the operations that vary pictures, pixels, depth.
"""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.official.image_sets import WRITERS, files_of_split, know_digests
from xfm.config.benchmark import BenchmarkRecipe, Edition, load_benchmark
from xfm.config.data import Augmentation
from xfm.config.finetune import FinetuneConfig, Preset, TuningConfig, TuningMode
from xfm.config.image import NORMALISATIONS, Colours, Framing, ImageTrainingConfig, MirrorRule, Operations
from xfm.config.load import load_recipe
from xfm.config.task import ImageHead
from xfm.config.tasks import task_spec
from xfm.config.training import Grouping, LearningRates, Schedule
from xfm.data.transforms import image_view
from xfm.data.variation import GEOMETRIC, OWN_OPERATIONS
from xfm.evaluation.benchmarks.published import Protocol, published_results, table_lines
from xfm.evaluation.benchmarks.registry import BENCHMARKS, recipe_of

TEXT = (Path(__file__).parents[2] / "golden" / "published-settings.md").read_text()
ODD = {
    **{"COCO retrieval": "coco", "Flickr30k retrieval": "flickr30k", "VQA v2 + VG": "vqa"},
    **{"RefCOCO+ boxes": "refcoco+", "Oxford-IIIT Pet": "oxford-pets"},
}
BY_NAME = {name.replace("-", ""): name for name in BENCHMARKS}


def benchmark_of(name: str) -> str:
    """A benchmark by its name on the page."""
    return ODD.get(name) or BY_NAME[re.sub("[^a-z0-9]", "", name.lower())]


def rows(heading: str) -> list[tuple[str, list[str]]]:
    """The rows of the table below a heading: the benchmark's name, and the other cells."""
    section = TEXT.partition(f"## {heading}")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [(name.strip(), one[1:]) for one in cells for name in one[0].split(",")]


def short(number: float) -> str:
    """A number as the page writes it: 3e-5, .1, 2,048."""
    text = f"{number:.0e}" if 0 < number < 1e-3 else f"{number:,.0f}" if number >= 1 else f"{number:g}"
    return text.replace("e-0", "e-").removeprefix("0") or "0"


GLUE, OPTIMISERS = rows("GLUE"), dict(rows("Optimisers"))
TUNED = [row for row in rows("Vision-language") if row[0] != "zero-shot retrieval"]
LINEAR = [row for row in rows("Linear evaluation") if not row[0].startswith("ImageNet")]


@cache
def published(name: str, protocol: Protocol = Protocol.FINE_TUNED) -> BenchmarkRecipe:
    return load_benchmark(recipe_of(name, protocol), edition=Edition.PUBLISHED)


def test_no_row_is_lost() -> None:
    """Every published number has its row, and every row the number that it made."""
    tables = "Optimisers", "GLUE", "Vision-language", "Linear evaluation"
    assert [len(rows(heading)) for heading in tables] == [5, 8, 7, 19]
    told = {benchmark_of(name) for name, _ in (*GLUE, *TUNED, *LINEAR)}
    of_paper = {row.benchmark for row in published_results() if row.xfm_13b}
    assert told | {"imagenet"} == of_paper | {"coco-captions"}


def _is_plain(settings: FinetuneConfig, script: str) -> None:
    """What all rows have in common: AdamW alone, every epoch, no preset that adds to it, nothing averaged."""
    assert (settings.muon_lr, settings.layer_decay, settings.average, settings.patience) == (0, 1, None, 0)
    assert (settings.preset, settings.time_limit, settings.steps) == (Preset.GOOD, 0, 0)
    assert (settings.gradient_accumulation_steps, settings.class_weights, settings.clip) == (1, "", 0)
    _optimises(settings, script)


def _optimises(settings: LearningRates, script: str) -> None:
    optimiser, clipping = OPTIMISERS[script]
    decay, betas = short(settings.weight_decay), " / ".join(map(short, settings.betas))
    by_name = f"weight decay {decay} by name" if settings.weight_decay else "no weight decay"
    theirs = f"betas {betas}, eps {short(settings.eps)}, {by_name}"
    assert (theirs if settings.published else f"weight decay {decay}, betas {betas};") in optimiser
    assert settings.published or settings.eps == torch.optim.AdamW([torch.zeros(1)]).defaults["eps"]
    assert optimiser.startswith("transformers' AdamW" if settings.published else "`torch.optim.AdamW(")
    assert clipping.startswith("none")


@pytest.mark.parametrize(("name", "cells"), GLUE, ids=str)
def test_glue(name: str, cells: list[str]) -> None:
    recipe = published(benchmark_of(name))
    settings = recipe.settings
    assert cells == [*map(short, (settings.lr, recipe.epochs, settings.batch_size))]
    assert f"## GLUE ({settings.max_tokens} tokens, linear decay, no warm-up, no weight decay)" in TEXT
    assert (settings.warmup, settings.least_lr, settings.new_lr_multiplier) == (0, 0, 1)
    assert (settings.schedule, settings.tune) == (Schedule.LINEAR, TuningConfig())
    assert settings.regression == (name == "STS-B")
    _is_plain(settings, "GLUE")


A = ImageTrainingConfig(0.5, 4 / 3, 0.5, MirrorRule.IGNORE, 2, 7, Operations.PUBLISHED)
"""RandomResizedCrop of 50 to 100 % of the area, flip, two of ten operations at magnitude 7."""
LETTERS = replace(A, sides=MirrorRule.LETTERS)
_HALF = 'flipped in half of the cases unless {} the letters "left" or "right"'
BOXED = (
    f'crops that keep the box; {_HALF.format("the phrase holds")} ("bright", too): words are never swapped '
    "(corrected); then RandAugment without shears, shifts and rotations"
)
PICTURES = {
    "A with flip": A,
    f"A, {_HALF.format('question or answer holds')} (corrected)": LETTERS,
    BOXED: replace(LETTERS, crop=0.01, aspect=1.0, operations=Operations.COLOUR),
}


_STAGE = " of pre-training (lr {rate}, {1.image_size} px, batch {1.batch_size}; corrected)"
OTHER = {
    **dict.fromkeys(["coco", "flickr30k"], "shortlist {0.shortlist}"),
    "nlvr2": "",
    "vqa": "shortlist {0.shortlist} of {0.settings.max_answers:,}; decoder of 12 layers at the plain rate",
    "refcoco+": "before it, `run.py` trains {epochs:g} epochs on the regions" + _STAGE,
    "coco-captions": 'label smoothing {smoothing}; prompt "{0.settings.prompt} "; beam {0.writing.beams}, '
    "{least} to {most} tokens with the prompt; before it, `run.py` trains "
    "{epochs:g} epochs of captioning on the pairs" + _STAGE,
}
"""The last column, by a recipe and the settings of its stage of domain pre-training."""


@pytest.mark.parametrize(("name", "cells"), TUNED, ids=str)
def test_vision_language(name: str, cells: list[str]) -> None:
    kind = benchmark_of(name)
    recipe, vqa, pairs = published(kind), published("vqa"), published("nlvr2").settings.max_words
    settings, decay = recipe.settings, short(recipe.settings.weight_decay)
    numbers = settings.image_size, settings.batch_size, settings.lr, recipe.epochs
    assert cells[:4] == [*map(short, numbers)]
    assert settings.image == PICTURES[cells[4]]
    stage = published(f"{kind}-domain" if "domain" in recipe.description else kind)
    told = {"rate": short(stage.settings.lr), "smoothing": short(settings.label_smoothing)}
    told |= {"least": recipe.writing.min_tokens + 3, "most": recipe.writing.max_tokens + 3}  # of the prompt
    assert cells[5] == OTHER[kind].format(recipe, stage.settings, epochs=stage.epochs, **told)
    assert load_recipe("base").model.fusion.depth == 12
    plain = kind in ("vqa", "coco-captions")
    assert "VQA's and captioning's decoders learn at the plain rate, not x2" in TEXT
    assert settings.new_lr_multiplier == (1 if plain else 2)
    assert (
        f"(linear decay, {100 * settings.warmup:g} % warm-up, weight decay {decay}, x2, at most 40 tokens; "
        f"NLVR2 at most {pairs} words, "
        f"VQA {vqa.settings.max_words} words in training and {vqa.test_words} in tests)"
    ) in TEXT
    limits = {"nlvr2": (256, 30, 0), "vqa": (40, 30, 50)}.get(kind, (40, 0, 0))  # 256 tokens hold 30 words
    assert (settings.max_tokens, settings.max_words, recipe.test_words) == limits
    assert settings.rows_per_picture == 1 or not task_spec(BENCHMARKS[kind].kind).reads("rows_per_picture")
    assert (settings.framing, settings.colours, settings.grey) == (None, Colours.MODEL, False)
    assert (settings.schedule, settings.tune) == (Schedule.LINEAR, TuningConfig())
    _is_plain(settings, "vision-language fine-tunings")


@pytest.mark.parametrize("name", ["coco", "flickr30k"])
def test_zero_shot_retrieval(name: str) -> None:
    """The recipe of the fine-tuning, in pictures of the pre-training."""
    recipe, side = published(name, Protocol.ZERO_SHOT), load_recipe("base").model.vision.image_size
    assert BENCHMARKS[name].editions(Protocol.ZERO_SHOT) == (Edition.PUBLISHED,)
    cells = dict(rows("Vision-language"))["zero-shot retrieval"]
    assert cells == [str(side), "", "", "0", "", f"shortlist {recipe.shortlist}"]
    assert recipe.settings.max_tokens == 40


def test_pictures_in_training() -> None:
    """What A says of crops and operations is what the recipes ask for, and what varies the pictures."""
    kinds = [re.sub("_[xy]", "", name) for name in OWN_OPERATIONS[Operations.PUBLISHED]]
    shift = f"shift x and y (of at most {A.magnitude} pixels at any size: 10 x {A.magnitude} / 10; corrected)"
    spelled = {"shear": "shear x and y", "translate": shift, "equalize": "equalise", "rotate": "rotation"}
    listed = ", ".join(spelled.get(one, one) for one in dict.fromkeys(kinds))
    mean, deviation = (" ".join(short(round(one, 4)) for one in three) for three in NORMALISATIONS["clip"])
    for said in (
        f"A: RandomResizedCrop of {100 * A.crop:g} to 100 % of the area (bicubic), flip where said, RandAug",
        f"RandAugment of {A.rand_augment} operations at magnitude {A.magnitude} out of {listed}. Pre-train",
        "Pre-training: the same with 20 to 100 %. Tests: squashed to the square, bicubic. Mean",
        f"Mean {mean}, deviation {deviation}.",
    ):
        assert said in TEXT
    moving = ("shear", "translate", "rotate")
    still = [name for name in OWN_OPERATIONS[Operations.PUBLISHED] if not name.startswith(moving)]
    assert still == list(OWN_OPERATIONS[Operations.COLOUR])
    draws = (np.random.default_rng(seed) for seed in range(300))
    views = [image_view(rng, (1000, 1000), Augmentation.PUBLISHED, True) for rng in draws]
    assert min(one.width * one.height for one in views) / 1e6 == pytest.approx(0.2, abs=0.02)
    for side in (224, 480):
        line = torch.zeros(3, side, side, dtype=torch.uint8)
        line[:, :, 100] = 255
        moved = GEOMETRIC["translate_x"](line, A.magnitude / 10, 1.0)
        assert moved[0, 0].argmax() == 107


@pytest.mark.parametrize(("name", "cells"), LINEAR, ids=str)
def test_linear_evaluation(name: str, cells: list[str]) -> None:
    recipe = published(benchmark_of(name), Protocol.LINEAR)
    _is_row(recipe, cells)
    settings = recipe.settings
    whole = name in ("MNIST", "FER2013")
    assert settings.framing is (Framing.SQUASH if whole else Framing.CLOSE_CENTRE)
    assert settings.colours is Colours.HALF
    assert settings.grey == (name == "Caltech101")  # the two others are grey already
    crop = {"crop": 1.0, "aspect": 1.0} if whole else {"crop": 0.08, "aspect": 4 / 3}
    plain = {"flip": 0.5, "drop_path": 0.1}
    assert settings.tune == TuningConfig(vision=TuningMode.FREEZE)
    assert settings.image == ImageTrainingConfig(**crop, **plain, label_smoothing=float(cells[3]))


def _is_row(recipe: BenchmarkRecipe, cells: list[str]) -> None:
    settings = recipe.settings
    _is_plain(settings, "linear evaluation")
    least = f" (least {short(settings.least_lr)})" if settings.least_lr else ""
    numbers = settings.batch_size, recipe.epochs, settings.image.label_smoothing
    assert cells[:4] == [short(settings.lr) + least, *map(short, numbers)]
    epochs = (
        f"{settings.warmup * recipe.epochs:g} epochs of warm-up, no mixup; the frozen encoder is in training"
    )
    assert (
        f"torch's AdamW defaults, cosine decay, {epochs} mode, so that its drop path of .1 is active" in TEXT
    )
    assert (settings.grouping, settings.image_head) == (Grouping.ONE, ImageHead.PUBLISHED)
    assert (settings.image.mixup, settings.image.cutmix) in ((0, 0), (0.8, 1.0))
    assert (settings.image_size, settings.schedule) == (224, Schedule.COSINE)


@pytest.mark.parametrize(("name", "cells"), LINEAR, ids=str)
def test_what_is_trained_on_and_scored(
    name: str, cells: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a data set in miniature, read as the edition reads it; the number that is reported is the top-1."""
    kind = benchmark_of(name)
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
    recipe = published("imagenet", protocol)
    cells = dict(rows("Linear evaluation"))[f"ImageNet-1K {protocol.value}"]
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
    for name, protocol, *_, note in table_lines({}):
        linear = protocol == "LE"
        split_twice = linear and name in ("sun397", "caltech101")
        assert ("contaminated" in note) == ("disjoint rows" in note) == split_twice, name
        chosen = linear or (protocol == "FT" and name in ("imagenet", "coco", "flickr30k"))
        assert ("epoch best on the test rows" in note) == chosen, name
        assert ("five layers" in note) == linear, name


def test_pretraining() -> None:
    """Of a device of 32; the three updates and the optimiser are switches, which the recipe leaves off."""
    off = load_recipe("base").training
    assert (off.three_updates, off.optim.published) == (False, False)
    recipe = load_recipe("base", ["--training.three_updates", "true", "--training.optim.published", "true"])
    data, training = recipe.data, recipe.training
    texts, images, pairs, pictures = (one.batch_size / 32 for one in data.streams.values())
    assert (
        f"Pairs {pairs:g} a device; regions {data.mean_regions * pictures:g} *rows* a device out of at most "
        f"{pictures:g} pictures with up to {data.max_regions} regions each (not 96 pictures); "
        f"texts {texts:g}, ImageNet pictures {images:g}. Captions are masked token by token"
    ) in TEXT
    assert (data.caption_mask.whole_word, data.text_mask.whole_word) == (False, False)
    assert f"Three optimiser updates an iteration at {short(training.optim.lr)}, one a kind of batch" in TEXT
    assert f"at the same rate and {training.steps:,} iterations" in TEXT
    _optimises(training.optim, "pre-training")
    assert training.optim.clip == 1  # "the accelerator of pre-training clips by its own setting"
