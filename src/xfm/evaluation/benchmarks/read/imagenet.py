"""ImageNet-1K as class folders or the hub's Parquet files, and pictures unpacked once from containers."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from xfm.core.errors import UserError
from xfm.core.files import drafting, replace_folder, writing
from xfm.data.images import image_suffix
from xfm.data.tables.parquet import read_footer
from xfm.data.tables.table import open_folder
from xfm.evaluation.benchmarks.read import readers
from xfm.evaluation.probing.prompt_templates import read_names
from xfm.tasks.rows import Labelled

CACHE, INDEX = "xfm-pictures", "index.jsonl"
"""Folder of unpacked pictures below that of their data, and the list of them."""

StoredImage = tuple[bytes, str]
"""Bytes of an encoded picture, and its class."""


def unpacked(
    target: Path, pictures: Callable[[], Iterable[StoredImage]], total: int | None = None
) -> list[Labelled]:
    """Pictures and classes below `target`, which is written at the first call and complete or absent.
    `total`, the number of pictures, shows an outdated folder."""
    if (target / INDEX).is_file():
        found = [
            Labelled(readers.image_below(target, row.text("image"), row, "image"), row.text("label"))
            for row in readers.read_lines(target / INDEX)
        ]
        if total is None or len(found) == total:
            return found
    with writing(target, "or choose a data folder on a larger disk"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with drafting(target) as draft:
            shown = tqdm(pictures(), total=total, unit="picture", desc=f"unpacking {target.name}")
            with (draft / INDEX).open("w", encoding="utf-8", newline="\n") as index:
                for number, (data, label) in enumerate(shown):
                    name = f"{number // 1000:04d}/{number:07d}{image_suffix(data)}"
                    (draft / name).parent.mkdir(exist_ok=True)
                    (draft / name).write_bytes(data)
                    index.write(json.dumps({"image": name, "label": label}, ensure_ascii=False) + "\n")
            if target.exists() and not (target / INDEX).exists():
                raise UserError(f"{target} is in the way; move it, pictures are to be unpacked there")
            replace_folder(draft, target)
    return unpacked(target, pictures)


def parquet_images(folder: Path, split: str, cache: Path) -> tuple[list[Labelled], tuple[str, ...]]:
    """Pictures of a split in the hub's Parquet layout, unpacked below `cache`, and class names in order.
    `image` holds `{"bytes", "path"}` or bytes, `label` class numbers named in the metadata, or strings."""
    files = readers.need_parquet(folder, split)
    footers = [*map(read_footer, files)]

    def pictures() -> Iterable[StoredImage]:
        for row in readers.parquet_rows(files, ("image", "label")):
            value = row["image"]
            data = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(data, bytes):
                raise row.error("image", "holds no bytes of a picture")
            if row["label"] is None:
                raise row.error("label", "names no class")
            yield data, str(row["label"])

    total = sum(sum(rows) for _, rows, _, _ in footers)
    (*_, names), *_ = footers
    return unpacked(cache / split, pictures, total), tuple(names.get("label", ()))


def _read_image_folder(folder: Path) -> tuple[list[Labelled], tuple[str, ...], str]:
    """Pictures by class and name, the classes, and what else is there."""
    classes, report = open_folder(folder)
    places = {label: folder.absolute() / label for label in classes}
    rows = [Labelled(places[label] / name, label) for label, names in classes.items() for name in names]
    return rows, tuple(classes), report


def read_imagenet(folder: Path) -> readers.Corpus[Labelled]:
    """ImageNet: `train/` and `val/` of class folders, or the hub's `data/train-*.parquet`."""
    if readers.parquet_files(folder, "train"):
        train, classes = parquet_images(folder, "train", folder / CACHE)
        val, _ = parquet_images(folder, "validation", folder / CACHE)
        names = classes or tuple(sorted({str(row.label) for row in train}))
        if surplus := {str(row.label) for row in (*train, *val)} - set(names):
            raise UserError(
                f"{folder}: the class {min(surplus)!r} is not among those of train; download the files again"
            )
        return readers.Corpus(train, {"val": val}, classes=names, chooses=False)
    train, classes, of_train = _read_image_folder(folder / "train")
    if not any(path.is_dir() for path in (folder / "val").glob("*")) and (folder / "val").is_dir():
        raise UserError(
            f"{folder / 'val'} holds no folders of classes; sort the pictures with "
            "torchvision.datasets.ImageNet, which reads the official archives"
        )
    val, others, of_val = _read_image_folder(folder / "val")
    if surplus := {*others} - {*classes}:
        raise UserError(
            f"{folder / 'val' / min(surplus)}: this class is not in {folder / 'train'}; remove the folder"
        )
    notes = {name: said for name, said in (("train/", of_train), ("val/", of_val)) if said}
    return readers.Corpus(train, {"val": val}, classes=classes, notes=notes, chooses=False)


def synset_names(folder: Path) -> dict[str, str] | None:
    """Class names of `LOC_synset_mapping.txt`; None without the file, empty for the hub's files."""
    if readers.parquet_files(folder, "train"):
        return {}
    path = folder / "LOC_synset_mapping.txt"
    if not path.is_file():
        return None
    names = read_names(path, " ")
    return {label: synonyms.split(",")[0].strip() for label, synonyms in names.items()}
