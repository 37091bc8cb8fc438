"""The data sets of linear evaluation in miniature, as torchvision lays them out: a few classes each."""

import hashlib
import pickle
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from tests.official.pictures import picture, write_json
from xfm.evaluation.benchmarks.read.imagenet import CACHE

SIZE = (24, 20)


def _lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def pictures(folder: Path, names: list[str]) -> list[str]:
    for n, name in enumerate(names):
        picture(folder / name, n, SIZE)
    return names


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def food101(root: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        listed = {}
        for name in ("pizza", "apple_pie"):
            listed[name] = [f"{name}/{split}{n}" for n in range(count)]
            pictures(root / "food-101" / "images", [f"{path}.jpg" for path in listed[name]])
        write_json(root / "food-101" / "meta" / f"{split}.json", listed)


def cars(root: Path) -> None:
    from scipy.io import savemat

    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array(["A 2001", "B 2002"], dtype=object)})
    places = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    for split, place in places.items():
        rows = [(picture(base / f"cars_{split}" / f"{n:05d}.jpg", n, SIZE).name, n % 2 + 1) for n in range(4)]
        kind = [("fname", object), ("class", object)]
        savemat(base / place, {"annotations": np.array(rows, dtype=kind)})


def aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    _lines(data / "variants.txt", ["707-320", "A380"])
    listed = {}
    for split in ("train", "val", "test"):
        names = pictures(data / "images", [f"{split}{n}.jpg" for n in range(4)])
        listed[split] = [f"{Path(name).stem} {('707-320', 'A380')[n % 2]}" for n, name in enumerate(names)]
    for split, lines in {**listed, "trainval": listed["train"] + listed["val"]}.items():
        _lines(data / f"images_variant_{split}.txt", lines)


def dtd(root: Path) -> None:
    base = root / "dtd" / "dtd"
    for split in ("train", "val", "test"):
        names = [f"{kind}/{kind}_{split}{n}.jpg" for kind in ("banded", "dotted") for n in range(2)]
        _lines(base / "labels" / f"{split}1.txt", pictures(base / "images", names))


def pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    for split in ("trainval", "test"):
        kinds = (("Abyssinian", 1), ("beagle", 2))
        names = [(f"{kind}_{split}{n}", label) for kind, label in kinds for n in range(2)]
        pictures(base / "images", [f"{name}.jpg" for name, _ in names])
        _lines(base / "annotations" / f"{split}.txt", [f"{name} {label} 1 1" for name, label in names])


def flowers(root: Path) -> None:
    from scipy.io import savemat

    base = root / "flowers-102"
    pictures(base / "jpg", [f"image_{n:05d}.jpg" for n in range(1, 9)])
    savemat(base / "imagelabels.mat", {"labels": np.array([1, 2] * 4)})
    savemat(base / "setid.mat", {"trnid": [1, 2], "valid": [3, 4], "tstid": [5, 6, 7, 8]})


def mnist(root: Path) -> None:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, count in (("train", 6), ("t10k", 4)):
        pixels = noise(count, 28, 28)
        header = b"".join(n.to_bytes(4, "big") for n in (2051, count, 28, 28))
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = bytes(n % 10 for n in range(count))
        header = b"".join(n.to_bytes(4, "big") for n in (2049, count))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(header + labels)


def cifar(root: Path, reader: Any, label: str, classes: list[str]) -> None:
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    for name, _ in reader.train_list + reader.test_list:
        data = {"data": noise(4, 3072, seed=len(name)), label: [0, 1, 0, 1]}
        (folder / name).write_bytes(pickle.dumps(data))
    (folder / reader.meta["filename"]).write_bytes(pickle.dumps({reader.meta["key"]: classes}))


def stl10(root: Path) -> None:
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    for split, count in (("train", 4), ("test", 4), ("unlabeled", 1)):
        (folder / f"{split}_X.bin").write_bytes(noise(count, 3, 96, 96).tobytes())
        if split != "unlabeled":
            (folder / f"{split}_y.bin").write_bytes(bytes([1, 2] * (count // 2)))


def folders(root: Path, place: str, ending: str, names: tuple[str, ...]) -> None:
    for split, name in product(("train", "valid", "test"), names):
        pictures(root / place / split / name, [f"{n}{ending}" for n in range(2)])


def sun397(root: Path) -> None:
    base = root / "SUN397"
    _lines(base / "ClassName.txt", ["/a/abbey", "/b/bar/indoor"])
    for name in ("Training_01.txt", "Testing_01.txt"):
        rows = [f"/{place}/sun_{name[:2]}{n}.jpg" for place in ("a/abbey", "b/bar/indoor") for n in range(2)]
        pictures(base, [row[1:] for row in rows])
        _lines(base / name, rows)


def caltech(root: Path) -> None:
    base = root / "caltech101" / "101_ObjectCategories"
    (root / "caltech101" / "Annotations").mkdir(parents=True)
    for name in ("BACKGROUND_Google", "ant", "chair"):
        pictures(base / name, [f"image_{n:04d}.jpg" for n in range(1, 33)])


def gtsrb(root: Path) -> None:
    base = root / "gtsrb" / "GTSRB"
    for label in range(2):
        pictures(base / "Training" / f"{label:05d}", ["0.ppm", "1.ppm"])
    names = pictures(base / "Final_Test" / "Images", [f"{n:05d}.ppm" for n in range(4)])
    rows = [f"{name};{n % 2}" for n, name in enumerate(names)]
    _lines(root / "gtsrb" / "GT-final_test.csv", ["Filename;ClassId", *rows])


def pcam(root: Path) -> None:
    import h5py

    (root / "pcam").mkdir(parents=True)
    for split in ("train", "valid", "test"):
        for key, values in (("x", noise(4, 16, 16, 3)), ("y", np.array([0, 1, 0, 1]).reshape(4, 1, 1, 1))):
            name = root / "pcam" / f"camelyonpatch_level_2_split_{split}_{key}.h5"
            with h5py.File(name, "w") as file:
                file[key] = values


FER_LEVELS = {"Training": 7, "PublicTest": 70, "PrivateTest": 170}
"""How bright the faces of each usage are."""


def fer2013(root: Path) -> None:
    (root / "fer2013").mkdir(parents=True)
    pixels = {usage: " ".join([str(level)] * 48 * 48) for usage, level in FER_LEVELS.items()}
    rows = [f"{n % 2 + 3},{pixels[usage]},{usage}" for n in range(4) for usage in FER_LEVELS]
    _lines(root / "fer2013" / "fer2013.csv", ["emotion,pixels,Usage", *rows])


WRITERS: dict[str, Callable[[Path], None]] = {
    "food101": food101,
    "cifar10": lambda root: cifar(root, datasets.CIFAR10, "labels", ["airplane", "automobile"]),
    "cifar100": lambda root: cifar(root, datasets.CIFAR100, "fine_labels", ["apple", "baby"]),
    "stanford-cars": cars,
    "fgvc-aircraft": aircraft,
    "dtd": dtd,
    "oxford-pets": pets,
    "flowers102": flowers,
    "mnist": mnist,
    "stl10": stl10,
    "country211": lambda root: folders(root, "country211", ".jpg", ("AD", "AE")),
    "sun397": sun397,
    "rendered-sst2": lambda root: folders(root, "rendered-sst2", ".png", ("negative", "positive")),
    "caltech101": caltech,
    "gtsrb": gtsrb,
    "pcam": pcam,
    "fer2013": fer2013,
}


_PLACES = {
    "food101": "food-101/images/*/{}[0-9].jpg",
    "stanford-cars": "stanford_cars/cars_{}/*.jpg",
    "fgvc-aircraft": "fgvc-aircraft-2013b/data/images/{}[0-9].jpg",
    "dtd": "dtd/dtd/images/*/*_{}[0-9].jpg",
    "oxford-pets": "oxford-iiit-pet/images/*_{}[0-9].jpg",
    "country211": "country211/{}/*/*.jpg",
    "rendered-sst2": "rendered-sst2/{}/*/*.png",
}
_FLOWERS = {"train": (1, 2), "test": (5, 6, 7, 8)}
_UNPACKED = {"Training": "train", "PrivateTest": "private"}


def files_of_split(root: Path, kind: str, split: str) -> set[Path]:
    """The pictures of a split, as its authors call it; those that are packed must have been unpacked."""
    if kind == "flowers102":
        return {root / "flowers-102" / "jpg" / f"image_{n:05d}.jpg" for n in _FLOWERS[split]}
    unpacked = f"{CACHE}/{kind}/{_UNPACKED.get(split, split)}/**/*.png"
    place = _PLACES.get(kind, unpacked).format(split)
    return {path for path in root.glob(place) if path.is_file()}


def know_digests(root: Path, patch: pytest.MonkeyPatch) -> None:
    """torchvision compares some files with the digests of the official ones: let it know the miniatures'."""

    def digest(path: Path) -> str | None:
        return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else None

    for reader in (datasets.CIFAR10, datasets.CIFAR100, datasets.STL10):
        folder = root / reader.base_folder
        for name in ("train_list", "test_list"):
            patch.setattr(reader, name, [[f, digest(folder / f)] for f, _ in getattr(reader, name)])
        if hasattr(reader, "meta"):
            meta = reader.meta
            patch.setattr(reader, "meta", meta | {"md5": digest(folder / meta["filename"])})
    files = {k: (f, digest(root / "flowers-102" / f)) for k, (f, _) in datasets.Flowers102._file_dict.items()}
    patch.setattr(datasets.Flowers102, "_file_dict", files)
    resources = {k: (f, digest(root / "fer2013" / f)) for k, (f, _) in datasets.FER2013._RESOURCES.items()}
    patch.setattr(datasets.FER2013, "_RESOURCES", resources)
