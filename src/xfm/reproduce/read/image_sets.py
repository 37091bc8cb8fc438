"""The data sets of linear evaluation, through torchvision's readers of the official files.

Data sets that keep every picture in a file of its own are read where they are. The others (arrays of CIFAR,
MNIST, STL-10, PCam and FER2013, and GTSRB's PPM files) are unpacked into PNG files once, below
`xfm-pictures/` in the data folder. torchvision checks the pickles of CIFAR against the published digests
before it loads them.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from torchvision import datasets

from xfm.config.benchmark import Edition
from xfm.errors import UserError
from xfm.reproduce.read.corpus import Corpus
from xfm.reproduce.read.image_openers import (
    Opened,
    at_random,
    by_split,
    by_train,
    caltech,
    every_sun,
    fer2013,
    packed,
    pets,
    split_of,
    sun397,
    whole,
)
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

_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_TISSUE = ("no tumour", "tumour")
_SIGNS = tuple(f"{number:05d}" for number in range(43))


@dataclass(frozen=True)
class _Splits:
    """How a data set is split.

    Attributes:
        open: rows and class names of a split.
        train: the split that is trained on.
        validation: the split that chooses the penalty of a probe, which is then fitted to it, too.
        test: the split that is tested.
    """

    open: Callable[[Path, str], Opened]
    train: str = "train"
    validation: str | None = None
    test: str = "test"


@dataclass(frozen=True)
class _Layout:
    """How a data set is opened.

    Attributes:
        place: folder or file below the data folder that must be there.
        official: how its authors split it.
        drawn: how X-FM's code splits it, where it draws the training rows from all.
    """

    place: str
    official: _Splits
    drawn: _Splits | None = None

    def splits(self, edition: Edition) -> _Splits:
        """How an edition splits it: X-FM's code trains on the training split alone."""
        if edition is Edition.RECOMMENDED:
            return self.official
        return self.drawn or replace(self.official, validation=None)


def read_image_set(root: Path, kind: ImageSet, edition: Edition = Edition.RECOMMENDED) -> Corpus[Labelled]:
    """A data set with its official splits, or as X-FM's code splits it. No rows choose between epochs.

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
        named = [name for name in (splits.train, splits.validation, splits.test) if name]
        opened = {name: splits.open(root, name) for name in named}
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
    train, classes = opened[splits.train]
    validation = opened[splits.validation][0] if splits.validation else ()
    scored = {"test": opened[splits.test][0]}
    return Corpus(train, scored, classes=classes, chooses=False, validation=validation)


def place_of(kind: ImageSet) -> str:
    """Folder or file below the data folder where the official files belong."""
    return _LAYOUTS[kind].place


_LAYOUTS: Mapping[ImageSet, _Layout] = {
    ImageSet.FOOD101: _Layout("food-101", _Splits(by_split(datasets.Food101))),
    ImageSet.CIFAR10: _Layout("cifar-10-batches-py", _Splits(packed("cifar10", by_train(datasets.CIFAR10)))),
    ImageSet.CIFAR100: _Layout("cifar-100-python", _Splits(packed("cifar100", by_train(datasets.CIFAR100)))),
    ImageSet.CARS: _Layout("stanford_cars", _Splits(by_split(datasets.StanfordCars))),
    ImageSet.AIRCRAFT: _Layout(
        "fgvc-aircraft-2013b", _Splits(by_split(datasets.FGVCAircraft), validation="val")
    ),
    ImageSet.DTD: _Layout("dtd", _Splits(by_split(datasets.DTD), validation="val")),
    ImageSet.PETS: _Layout("oxford-iiit-pet", _Splits(pets, "trainval")),
    ImageSet.FLOWERS: _Layout("flowers-102", _Splits(by_split(datasets.Flowers102), validation="val")),
    ImageSet.MNIST: _Layout("MNIST", _Splits(packed("mnist", by_train(datasets.MNIST)))),
    ImageSet.STL10: _Layout("stl10_binary", _Splits(packed("stl10", split_of(datasets.STL10)))),
    ImageSet.COUNTRY211: _Layout("country211", _Splits(by_split(datasets.Country211), validation="valid")),
    ImageSet.SUN397: _Layout("SUN397", _Splits(sun397), drawn=_Splits(at_random(every_sun))),
    ImageSet.RENDERED_SST2: _Layout(
        "rendered-sst2", _Splits(by_split(datasets.RenderedSST2), validation="val")
    ),
    ImageSet.CALTECH101: _Layout("caltech101", _Splits(caltech), drawn=_Splits(at_random(whole(caltech)))),
    ImageSet.GTSRB: _Layout("gtsrb", _Splits(packed("gtsrb", split_of(datasets.GTSRB), _SIGNS))),
    ImageSet.PCAM: _Layout(
        "pcam", _Splits(packed("pcam", split_of(datasets.PCAM), _TISSUE), validation="val")
    ),
    ImageSet.FER2013: _Layout(
        "fer2013", _Splits(packed("fer2013", fer2013, _EMOTIONS), validation="public", test="private")
    ),
}
