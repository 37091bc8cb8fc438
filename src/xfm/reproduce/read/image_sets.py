"""The data sets of linear evaluation, through torchvision's readers of the official files.

Data sets that keep every picture in a file of its own are read where they are. The others (arrays of CIFAR,
MNIST, STL-10, PCam and FER2013, and GTSRB's PPM files) are unpacked into PNG files once, below
`xfm-pictures/` in the data folder. torchvision checks the pickles of CIFAR against the published digests
before it loads them.
"""

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Subset
from torchvision import datasets

from xfm.config.benchmark import Edition
from xfm.errors import UserError
from xfm.files import read_text
from xfm.reproduce.files.unpacked import CACHE, StoredPicture, unpacked
from xfm.reproduce.read.corpus import Corpus
from xfm.tasks.rows import Labelled


class ImageSet(StrEnum):
    """The data sets, as reports name them."""

    FOOD101 = "food101"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
    CARS = "stanford-cars"
    AIRCRAFT = "fgvc-aircraft"
    DTD = "dtd"
    PETS = "oxford-pets"
    FLOWERS = "flowers102"
    MNIST = "mnist"
    STL10 = "stl10"
    COUNTRY211 = "country211"
    SUN397 = "sun397"
    RENDERED_SST2 = "rendered-sst2"
    CALTECH101 = "caltech101"
    GTSRB = "gtsrb"
    PCAM = "pcam"
    FER2013 = "fer2013"


PER_CLASS = frozenset({ImageSet.AIRCRAFT, ImageSet.PETS, ImageSet.FLOWERS, ImageSet.CALTECH101})
"""Where the literature reports the mean over the classes instead of the share of all pictures."""

Opened = tuple[list[Labelled], tuple[str, ...]]
_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_TISSUE = ("no tumour", "tumour")
_SIGNS = tuple(f"{number:05d}" for number in range(43))
_CALTECH_TRAIN = 30
TRAINED = 0.8
"""Share of the pictures that X-FM's code trains on, where it splits at random."""


@dataclass(frozen=True)
class _Splits:
    """How a data set is split: what opens a split, those that are trained on, and the one that is tested."""

    open: Callable[[Path, str], Opened]
    train: tuple[str, ...] = ("train",)
    test: str = "test"


@dataclass(frozen=True)
class _Layout:
    """How a data set is opened.

    Attributes:
        place: folder or file below the data folder that must be there.
        open: rows and class names of a split.
        train: the splits that are trained on.
        test: the split that is tested.
        published: how X-FM's code splits it, where that is otherwise.
    """

    place: str
    open: Callable[[Path, str], Opened]
    train: tuple[str, ...] = ("train",)
    test: str = "test"
    published: _Splits | None = None

    def splits(self, edition: Edition) -> _Splits:
        """How an edition splits it."""
        official = _Splits(self.open, self.train, self.test)
        return self.published or official if edition is Edition.PUBLISHED else official


def read_image_set(root: Path, kind: ImageSet, edition: Edition = Edition.RECOMMENDED) -> Corpus[Labelled]:
    """A data set with its official split, or as X-FM's code splits it. No rows choose between epochs.

    Args:
        root: the data folder; torchvision expects the files in a folder of its own below it, see `place_of`.
        kind: which data set.
        edition: by whose rules it is split.

    Raises:
        UserError: the files are missing, damaged or not those that torchvision expects.
    """
    layout = _LAYOUTS[kind]
    if not (root / layout.place).exists():
        raise UserError(f"{root / layout.place} does not exist; put {kind} there as torchvision lays it out")
    place, splits = layout.place, layout.splits(edition)
    try:
        opened = {split: splits.open(root, split) for split in (*splits.train, splits.test)}
    except UserError:
        raise
    except Exception as error:  # the readers raise whatever their parsers do
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{root / place}: torchvision cannot read {kind} ({reason[:200]}); "
            "download the official files again"
        ) from error
    folder = os.path.join(os.path.abspath(root), "")
    for row in (row for rows, _ in opened.values() for row in rows):
        if not os.path.abspath(row.image).startswith(folder):
            raise UserError(f"{root / place}: a list of {kind} names {row.image}; mend the list")
    train = [row for split in splits.train for row in opened[split][0]]
    scored = {"test": opened[splits.test][0]}
    return Corpus(train, scored, classes=opened[splits.train[0]][1], chooses=False)


def place_of(kind: ImageSet) -> str:
    """Folder or file below the data folder where the official files belong."""
    return _LAYOUTS[kind].place


# ---------------------------------------------------------------- pictures in files of their own
def _files(dataset: Any) -> Opened:
    """Rows of a data set whose loader gives paths."""
    names = tuple(map(str, dataset.classes))
    pairs = (dataset[place] for place in range(len(dataset)))
    return [Labelled(Path(path), names[int(label)]) for path, label in pairs], names


def _by_split(reader: Callable[..., Any], **options: Any) -> Callable[[Path, str], Opened]:
    return lambda root, split: _files(reader(root, split=split, loader=Path, **options))


def _pets(root: Path, split: str) -> Opened:
    dataset = datasets.OxfordIIITPet(root, split=split)  # it checks the layout and names the classes
    folder = root / "oxford-iiit-pet"
    lines = read_text(folder / "annotations" / f"{split}.txt").splitlines()
    cells = [line.split() for line in lines if line.strip()]
    names = tuple(dataset.classes)
    return [Labelled(folder / "images" / f"{c[0]}.jpg", names[int(c[1]) - 1]) for c in cells], names


def _caltech(root: Path, split: str) -> Opened:
    """30 pictures of every class are trained on, the others tested; the literature draws the 30 at random."""
    dataset = datasets.Caltech101(root)
    folder, names = Path(dataset.root) / "101_ObjectCategories", tuple(dataset.categories)
    return [
        Labelled(folder / names[label] / f"image_{number:04d}.jpg", names[label])
        for number, label in zip(dataset.index, dataset.y, strict=True)
        if (number <= _CALTECH_TRAIN) == (split == "train")
    ], names


def _sun397(root: Path, split: str) -> Opened:
    """The first of the ten official partitions: `Training_01.txt` and `Testing_01.txt` beside the classes."""
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
        parts = line.strip().lstrip("/").split("/")  # /a/abbey/sun_aaaulhwrhqgejnyt.jpg
        label = "/".join(parts[1:-1])
        if line.strip() and label not in known:
            raise UserError(
                f"{listed}:{number}: {line.strip()} is of no class of ClassName.txt; mend the row."
            )
        if line.strip():
            rows.append(Labelled(folder.joinpath(*parts), label))
    return rows, names


def _every_sun(root: Path) -> Opened:
    """All pictures of SUN397, whatever partitions there are."""
    return _files(datasets.SUN397(root, loader=Path))


def _at_random(opened: Callable[[Path], Opened]) -> Callable[[Path, str], Opened]:
    """A random 80 % are trained on, the others tested, as in X-FM's code, whose draw is not known."""

    def drawn(root: Path, split: str) -> Opened:
        rows, names = opened(root)
        order = np.random.default_rng(0).permutation(len(rows))
        part = (
            order[: round(TRAINED * len(rows))] if split == "train" else order[round(TRAINED * len(rows)) :]
        )
        return [rows[place] for place in sorted(part.tolist())], names

    return drawn


def _whole(opened: Callable[[Path, str], Opened]) -> Callable[[Path], Opened]:
    """Both splits of a data set together."""

    def joined(root: Path) -> Opened:
        (train, names), (test, _) = opened(root, "train"), opened(root, "test")
        return [*train, *test], names

    return joined


# ---------------------------------------------------------------- pictures in arrays
def _packed(
    name: str, reader: Callable[[Path, str], Any], classes: Sequence[str] | None = None
) -> Callable[[Path, str], Opened]:
    """Rows of a data set whose pictures are unpacked at the first call."""

    def opened(root: Path, split: str) -> Opened:
        dataset = reader(root, split)
        names = tuple(str(c) for c in (classes or dataset.classes))
        place = root / CACHE / name / split
        return unpacked(place, lambda: _encoded(dataset, names), len(dataset)), names

    return opened


def _encoded(dataset: Any, names: Sequence[str]) -> Iterator[StoredPicture]:
    for place in range(len(dataset)):
        picture, label = dataset[place]
        file = io.BytesIO()
        picture.save(file, format="PNG")
        yield StoredPicture(file.getvalue(), names[int(label)])


def _by_train(reader: Callable[..., Any]) -> Callable[[Path, str], Any]:
    return lambda root, split: reader(root, train=split == "train")


def _split_of(reader: Callable[..., Any]) -> Callable[[Path, str], Any]:
    return lambda root, split: reader(root, split=split)


def _fer(root: Path, split: str) -> Any:
    """FER2013: `train`, `test` of both test sets, or `private` of PrivateTest alone."""
    dataset: Any = datasets.FER2013(root, split="train" if split == "train" else "test")
    if len(dataset) and dataset[0][1] is None:
        raise UserError(
            f"{root / 'fer2013' / 'test.csv'} holds no labels; put fer2013.csv or icml_face_data.csv there"
        )
    return Subset(dataset, _private(root / "fer2013")) if split == "private" else dataset


def _private(folder: Path) -> list[int]:
    """Places of PrivateTest among the rows of both test sets."""
    path = next(path for path in (folder / "fer2013.csv", folder / "icml_face_data.csv") if path.is_file())
    with path.open(newline="", encoding="utf-8") as file:
        usages = [row[next(name for name in row if name.strip() == "Usage")] for row in csv.DictReader(file)]
    return [place for place, one in enumerate(u for u in usages if u != "Training") if one == "PrivateTest"]


_AIRCRAFT, _DTD = _by_split(datasets.FGVCAircraft), _by_split(datasets.DTD)
_FLOWERS, _COUNTRY = _by_split(datasets.Flowers102), _by_split(datasets.Country211)
_FER = _packed("fer2013", _fer, _EMOTIONS)

_LAYOUTS: Mapping[ImageSet, _Layout] = {
    ImageSet.FOOD101: _Layout("food-101", _by_split(datasets.Food101)),
    ImageSet.CIFAR10: _Layout("cifar-10-batches-py", _packed("cifar10", _by_train(datasets.CIFAR10))),
    ImageSet.CIFAR100: _Layout("cifar-100-python", _packed("cifar100", _by_train(datasets.CIFAR100))),
    ImageSet.CARS: _Layout("stanford_cars", _by_split(datasets.StanfordCars)),
    ImageSet.AIRCRAFT: _Layout("fgvc-aircraft-2013b", _AIRCRAFT, ("trainval",), published=_Splits(_AIRCRAFT)),
    ImageSet.DTD: _Layout("dtd", _DTD, ("train", "val"), published=_Splits(_DTD)),
    ImageSet.PETS: _Layout("oxford-iiit-pet", _pets, ("trainval",)),
    ImageSet.FLOWERS: _Layout("flowers-102", _FLOWERS, ("train", "val"), published=_Splits(_FLOWERS)),
    ImageSet.MNIST: _Layout("MNIST", _packed("mnist", _by_train(datasets.MNIST))),
    ImageSet.STL10: _Layout("stl10_binary", _packed("stl10", _split_of(datasets.STL10))),
    ImageSet.COUNTRY211: _Layout("country211", _COUNTRY, ("train", "valid"), published=_Splits(_COUNTRY)),
    ImageSet.SUN397: _Layout("SUN397", _sun397, published=_Splits(_at_random(_every_sun))),
    ImageSet.RENDERED_SST2: _Layout("rendered-sst2", _by_split(datasets.RenderedSST2)),
    ImageSet.CALTECH101: _Layout("caltech101", _caltech, published=_Splits(_at_random(_whole(_caltech)))),
    ImageSet.GTSRB: _Layout("gtsrb", _packed("gtsrb", _split_of(datasets.GTSRB), _SIGNS)),
    ImageSet.PCAM: _Layout("pcam", _packed("pcam", _split_of(datasets.PCAM), _TISSUE)),
    ImageSet.FER2013: _Layout("fer2013", _FER, published=_Splits(_FER, test="private")),
}
