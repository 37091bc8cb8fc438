"""ImageNet-1K and any folder of class folders, or the hub's Parquet files."""

from pathlib import Path

from xfm.core.errors import UserError, excerpt
from xfm.core.files import read_text
from xfm.data.folders import FolderReport
from xfm.data.tables.table import open_folder
from xfm.evaluation.benchmarks.read.corpus import Corpus
from xfm.evaluation.benchmarks.read.readers import parquet_files
from xfm.evaluation.benchmarks.read.unpacked import CACHE, parquet_pictures
from xfm.tasks.rows import ClassFolders, Labelled


def _read_image_folder(folder: Path) -> tuple[ClassFolders, FolderReport]:
    classes, report = open_folder(folder)
    return ClassFolders(folder.absolute(), classes), report


def read_imagenet(folder: Path) -> Corpus[Labelled]:
    """ImageNet: `train/` and `val/` of class folders, or the hub's `data/train-*.parquet`."""
    if parquet_files(folder, "train"):
        return _read_hub(folder)
    train, of_train = _read_image_folder(folder / "train")
    if not any(path.is_dir() for path in (folder / "val").glob("*")) and (folder / "val").is_dir():
        raise UserError(
            f"{folder / 'val'} holds no folders of classes; sort the pictures with "
            "torchvision.datasets.ImageNet, which reads the official archives"
        )
    val, of_val = _read_image_folder(folder / "val")
    if surplus := set(val.labels) - set(train.labels):
        raise UserError(
            f"{folder / 'val' / min(surplus)}: this class is not in {folder / 'train'}; remove the folder"
        )
    reports = tuple(report for report in (of_train, of_val) if report)
    return Corpus(train, {"val": val}, classes=train.labels, reports=reports, chooses=False)


def _read_hub(folder: Path) -> Corpus[Labelled]:
    cache = folder / CACHE
    train, classes = parquet_pictures(folder, "train", cache)
    val, _ = parquet_pictures(folder, "validation", cache)
    names = classes or tuple(sorted({str(row.label) for row in train}))
    if surplus := {str(row.label) for row in (*train, *val)} - set(names):
        raise UserError(
            f"{folder}: the class {min(surplus)!r} is not among those of train; download the files again"
        )
    return Corpus(train, {"val": val}, classes=names, chooses=False)


def synset_names(folder: Path) -> dict[str, str] | None:
    """Class names of `LOC_synset_mapping.txt`; None without the file, empty for the hub's files."""
    if parquet_files(folder, "train"):
        return {}
    path = folder / "LOC_synset_mapping.txt"
    if not path.is_file():
        return None
    names: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        label, _, synonyms = line.strip().partition(" ")
        if line.strip() and not synonyms:
            raise UserError(
                f"{path}:{number}: {excerpt(line)!r} is not a class and its names; download the file again"
            )
        if label:
            names[label] = synonyms.split(",")[0].strip()
    return names
