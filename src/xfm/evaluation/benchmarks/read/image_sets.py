"""The data sets of linear evaluation, through torchvision's readers of the official files. Data sets that
keep every picture in a file of its own are read where they are. The others (arrays of CIFAR, MNIST, STL-10,
PCam and FER2013, and GTSRB's PPM files) are unpacked into PNG files once, below `xfm-pictures/` in the data
folder. torchvision checks the pickles of CIFAR against the published digests before it loads them."""

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Subset
from torchvision import datasets

from xfm.config.benchmark import Edition
from xfm.core.errors import UserError, explained
from xfm.core.files import read_text
from xfm.evaluation.benchmarks.read.imagenet import CACHE, StoredImage, unpacked
from xfm.evaluation.benchmarks.read.readers import Corpus
from xfm.tasks.rows import Labelled

Opened = tuple[list[Labelled], tuple[str, ...]]
"""Rows of a split, and the names of the classes."""
TRAINED = 0.8
"""Share of the pictures that X-FM's code trains on, where it splits at random."""
_CALTECH_TRAIN = 30
_USAGES = {"public": "PublicTest", "private": "PrivateTest"}


# ---------------------------------------------------------------- pictures in files of their own
def _files(dataset: Any) -> Opened:
    names = tuple(map(str, dataset.classes))
    pairs = (dataset[place] for place in range(len(dataset)))
    return [Labelled(Path(path), names[int(label)]) for path, label in pairs], names


def by_split(reader: Callable[..., Any], **options: Any) -> Callable[[Path, str], Opened]:
    """Opener of a torchvision reader that takes the name of a split and gives paths."""
    return lambda root, split: _files(reader(root, split=split, loader=Path, **options))


def pets(root: Path, split: str) -> Opened:
    """Oxford-IIIT Pets, `trainval` or `test`, from its lists: torchvision's reader decodes the pictures."""
    dataset = datasets.OxfordIIITPet(root, split=split)  # it checks the layout and names the classes
    folder = root / "oxford-iiit-pet"
    lines = read_text(folder / "annotations" / f"{split}.txt").splitlines()
    cells = [line.split() for line in lines if line.strip()]
    names = tuple(dataset.classes)
    return [Labelled(folder / "images" / f"{c[0]}.jpg", names[int(c[1]) - 1]) for c in cells], names


def caltech(root: Path, split: str) -> Opened:
    """30 pictures of every class are trained on, the others tested; the literature draws the 30 at random."""
    dataset = datasets.Caltech101(root)
    folder, names = Path(dataset.root) / "101_ObjectCategories", tuple(dataset.categories)
    return [
        Labelled(folder / names[label] / f"image_{number:04d}.jpg", names[label])
        for number, label in zip(dataset.index, dataset.y, strict=True)
        if (number <= _CALTECH_TRAIN) == (split == "train")
    ], names


def sun397(root: Path, split: str) -> Opened:
    """The first of the ten official partitions: `Training_01.txt` and `Testing_01.txt`."""
    dataset = datasets.SUN397(root, loader=Path)
    names = tuple(dataset.classes)
    folder = root / "SUN397"
    name = {"train": "Training_01.txt", "test": "Testing_01.txt"}[split]
    listed = next(
        (place / name for place in (folder, folder / "Partitions") if (place / name).is_file()), None
    )
    if listed is None:
        raise UserError(f"{folder / name} does not exist; put the official partitions of SUN397 there")
    rows: list[Labelled] = []
    known = set(names)
    for number, line in enumerate(read_text(listed).splitlines(), start=1):
        if not (path := line.strip()):
            continue
        parts = path.lstrip("/").split("/")  # /a/abbey/sun_aaaulhwrhqgejnyt.jpg
        label = "/".join(parts[1:-1])
        if label not in known:
            raise UserError(f"{listed}:{number}: {path} is of no class of ClassName.txt; mend the row.")
        rows.append(Labelled(folder.joinpath(*parts), label))
    return rows, names


def _whole_caltech(root: Path) -> Opened:
    (train, names), (test, _) = caltech(root, "train"), caltech(root, "test")
    return [*train, *test], names


def drawn(opened: Callable[[Path], Opened], root: Path, split: str) -> Opened:
    """A share of all rows, drawn at random, for `train`, and the rest."""
    rows, names = opened(root)
    order, count = np.random.default_rng(0).permutation(len(rows)), round(TRAINED * len(rows))
    part = order[:count] if split == "train" else order[count:]
    return [rows[place] for place in sorted(part.tolist())], names


# ---------------------------------------------------------------- pictures in arrays
def packed(
    name: str, reader: Callable[..., Any], classes: Sequence[str] | None, root: Path, split: str
) -> Opened:
    """Rows of a data set whose pictures are unpacked at the first call."""
    dataset = reader(root, split=split)
    names = tuple(str(c) for c in (classes or dataset.classes))

    def encoded() -> Iterator[StoredImage]:
        for place in range(len(dataset)):
            picture, label = dataset[place]
            file = io.BytesIO()
            picture.save(file, format="PNG")
            yield file.getvalue(), names[int(label)]

    return unpacked(root / CACHE / name / split, encoded, len(dataset)), names


def _by_train(reader: Callable[..., Any]) -> Callable[[Path, str], Any]:
    return lambda root, split: reader(root, train=split == "train")


def fer2013(root: Path, split: str) -> Any:
    """FER2013: `train`, or one of the test sets `public` and `private`."""
    dataset: Any = datasets.FER2013(root, split="train" if split == "train" else "test")
    if len(dataset) and dataset[0][1] is None:
        raise UserError(
            f"{root / 'fer2013' / 'test.csv'} holds no labels; put fer2013.csv or icml_face_data.csv there"
        )
    if split == "train":
        return dataset
    folder = root / "fer2013"
    path = next(path for path in (folder / "fer2013.csv", folder / "icml_face_data.csv") if path.is_file())
    with path.open(newline="", encoding="utf-8") as file:
        usages = [row[next(name for name in row if name.strip() == "Usage")] for row in csv.DictReader(file)]
    tested = enumerate(usage for usage in usages if usage != "Training")
    return Subset(dataset, [place for place, usage in tested if usage == _USAGES[split]])


_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_TISSUE = ("no tumour", "tumour")
_SIGNS = tuple(f"{number:05d}" for number in range(43))


@dataclass(frozen=True)
class _Set:
    """Place below the data folder, opener, and splits of a data set. `drawn` opens the splits as X-FM's code
    draws them; `templates` of prompts are None where classes are codes or numbers; `per_class`: the
    literature reports the mean over the classes."""

    place: str
    open: Callable[[Path, str], Opened]
    train: str = "train"
    validation: str | None = None
    test: str = "test"
    drawn: Callable[[Path, str], Opened] | None = None
    templates: str | None = "general"
    per_class: bool = False


def read_image_set(root: Path, kind: str, edition: Edition = Edition.RECOMMENDED) -> Corpus[Labelled]:
    """A data set with its official splits, or as X-FM's code splits it; the last epoch counts."""
    layout = IMAGE_SETS[kind]
    if edition is Edition.PUBLISHED:  # X-FM's code trains on the training split alone
        layout = replace(layout, validation=None, open=layout.drawn or layout.open)
    if not (root / layout.place).exists():
        raise UserError(f"{root / layout.place} does not exist; put {kind} there as torchvision lays it out")
    failing = f"{root / layout.place}: torchvision cannot read {kind}"
    with explained(failing, "download the official files again"):  # readers raise whatever their parsers do
        named = [name for name in (layout.train, layout.validation, layout.test) if name]
        opened = {name: layout.open(root, name) for name in named}
    folder = os.path.join(os.path.abspath(root), "")
    for row in (row for rows, _ in opened.values() for row in rows):
        if not os.path.abspath(row.image).startswith(folder):
            raise UserError(f"{root / layout.place}: a list of {kind} names {row.image}; mend the list")
    train, classes = opened[layout.train]
    validation = opened[layout.validation][0] if layout.validation else ()
    scored = {"test": opened[layout.test][0]}
    return Corpus(train, scored, classes=classes, chooses=False, validation=validation)


IMAGE_SETS: Mapping[str, _Set] = {
    "food101": _Set("food-101", by_split(datasets.Food101), templates="food"),
    "cifar10": _Set("cifar-10-batches-py", partial(packed, "cifar10", _by_train(datasets.CIFAR10), None)),
    "cifar100": _Set("cifar-100-python", partial(packed, "cifar100", _by_train(datasets.CIFAR100), None)),
    "stanford-cars": _Set("stanford_cars", by_split(datasets.StanfordCars), templates="vehicles"),
    "fgvc-aircraft": _Set(
        "fgvc-aircraft-2013b",
        by_split(datasets.FGVCAircraft),
        validation="val",
        templates="aircraft",
        per_class=True,
    ),
    "dtd": _Set("dtd", by_split(datasets.DTD), validation="val", templates="textures"),
    "oxford-pets": _Set("oxford-iiit-pet", pets, "trainval", templates="pets", per_class=True),
    "flowers102": _Set(
        "flowers-102", by_split(datasets.Flowers102), validation="val", templates="plants", per_class=True
    ),
    "mnist": _Set("MNIST", partial(packed, "mnist", _by_train(datasets.MNIST), None), templates="digits"),
    "stl10": _Set("stl10_binary", partial(packed, "stl10", datasets.STL10, None)),
    "country211": _Set("country211", by_split(datasets.Country211), validation="valid", templates=None),
    "sun397": _Set(
        "SUN397",
        sun397,
        drawn=partial(drawn, lambda root: _files(datasets.SUN397(root, loader=Path))),
        templates="scenes",
    ),
    "rendered-sst2": _Set("rendered-sst2", by_split(datasets.RenderedSST2), validation="val"),
    "caltech101": _Set("caltech101", caltech, drawn=partial(drawn, _whole_caltech), per_class=True),
    "gtsrb": _Set("gtsrb", partial(packed, "gtsrb", datasets.GTSRB, _SIGNS), templates=None),
    "pcam": _Set("pcam", partial(packed, "pcam", datasets.PCAM, _TISSUE), validation="val"),
    "fer2013": _Set(
        "fer2013",
        partial(packed, "fer2013", fer2013, _EMOTIONS),
        validation="public",
        test="private",
        templates="faces",
    ),
}
