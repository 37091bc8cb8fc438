"""Openers of the data sets of linear evaluation, through torchvision: rows of a split, and classes."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Subset
from torchvision import datasets

from xfm.errors import UserError
from xfm.files import read_text
from xfm.reproduce.files.unpacked import CACHE, StoredPicture, unpacked
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
    """The opener of a reader that takes the name of a split and gives paths."""
    return lambda root, split: _files(reader(root, split=split, loader=Path, **options))


def pets(root: Path, split: str) -> Opened:
    """Oxford-IIIT Pets, `trainval` or `test`, by its lists: torchvision's reader decodes the pictures."""
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
    """The first of the ten official partitions: `Training_01.txt` and `Testing_01.txt` beside the classes.

    Raises:
        UserError: the partition is missing, or a row of it is of no class.
    """
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


def every_sun(root: Path) -> Opened:
    """All pictures of SUN397, whatever partitions there are."""
    return _files(datasets.SUN397(root, loader=Path))


def at_random(opened: Callable[[Path], Opened]) -> Callable[[Path, str], Opened]:
    """A random 80 % are trained on, the others tested, as in X-FM's code, whose draw is not known."""

    def drawn(root: Path, split: str) -> Opened:
        rows, names = opened(root)
        order = np.random.default_rng(0).permutation(len(rows))
        part = (
            order[: round(TRAINED * len(rows))] if split == "train" else order[round(TRAINED * len(rows)) :]
        )
        return [rows[place] for place in sorted(part.tolist())], names

    return drawn


def whole(opened: Callable[[Path, str], Opened]) -> Callable[[Path], Opened]:
    """Both splits of a data set together."""

    def joined(root: Path) -> Opened:
        (train, names), (test, _) = opened(root, "train"), opened(root, "test")
        return [*train, *test], names

    return joined


# ---------------------------------------------------------------- pictures in arrays
def packed(
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


def by_train(reader: Callable[..., Any]) -> Callable[[Path, str], Any]:
    """A reader that asks whether the split is that of the training, by the name of the split."""
    return lambda root, split: reader(root, train=split == "train")


def split_of(reader: Callable[..., Any]) -> Callable[[Path, str], Any]:
    """A reader that takes the name of a split, which gives pictures."""
    return lambda root, split: reader(root, split=split)


def fer2013(root: Path, split: str) -> Any:
    """FER2013: `train`, or one of the two test sets, `public` and `private`.

    Raises:
        UserError: its file has no labels for them.
    """
    dataset: Any = datasets.FER2013(root, split="train" if split == "train" else "test")
    if len(dataset) and dataset[0][1] is None:
        raise UserError(
            f"{root / 'fer2013' / 'test.csv'} holds no labels; put fer2013.csv or icml_face_data.csv there"
        )
    return dataset if split == "train" else Subset(dataset, _of_usage(root / "fer2013", _USAGES[split]))


def _of_usage(folder: Path, usage: str) -> list[int]:
    path = next(path for path in (folder / "fer2013.csv", folder / "icml_face_data.csv") if path.is_file())
    with path.open(newline="", encoding="utf-8") as file:
        usages = [row[next(name for name in row if name.strip() == "Usage")] for row in csv.DictReader(file)]
    return [place for place, one in enumerate(u for u in usages if u != "Training") if one == usage]
