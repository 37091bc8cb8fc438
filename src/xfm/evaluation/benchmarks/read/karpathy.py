"""COCO and Flickr30k with the splits of Karpathy and Fei-Fei (2015): `dataset_coco.json` and the like."""

from collections import defaultdict
from pathlib import Path

from xfm.data.tables import TableRow
from xfm.evaluation.benchmarks.read.corpus import Corpus, check_picture
from xfm.evaluation.benchmarks.read.readers import (
    inner_rows,
    integer,
    need,
    picture_below,
    read_json_rows,
    string,
)
from xfm.tasks.rows import Described

_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


def read_coco(folder: Path) -> Corpus[Described]:
    """COCO: `dataset_coco.json` beside `train2014/` and `val2014/` (or both in `images/`).

    Training includes the split `restval`, as is usual.
    """
    pictures = coco_pictures(folder)
    return _read(folder, "dataset_coco.json", pictures, "put COCO's train2014 and val2014 there")


def read_flickr30k(folder: Path) -> Corpus[Described]:
    """Flickr30k: `dataset_flickr30k.json` beside `flickr30k-images/` (or `images/`)."""
    pictures = flickr_pictures(folder)
    return _read(folder, "dataset_flickr30k.json", pictures, "put Flickr30k's pictures there")


def coco_pictures(folder: Path) -> Path:
    """Folder of COCO's `train2014`, `val2014` and `test2015`: `images` below COCO's, or COCO's itself."""
    images = folder / "images"
    return images if images.is_dir() else folder


def flickr_pictures(folder: Path) -> Path:
    """Folder of the pictures below Flickr30k's."""
    places = [folder / name for name in ("flickr30k-images", "flickr30k_images", "images")]
    return next((place for place in places if place.is_dir()), places[0])


def _read(folder: Path, file: str, pictures: Path, remedy: str) -> Corpus[Described]:
    path = need(folder, file)
    rows = read_json_rows(path, "images", required=("filename", "sentences", "split"))
    splits: dict[str, list[Described]] = defaultdict(list)
    for row in rows:
        split = _SPLITS.get(row.text("split"))
        if split is None:
            raise row.error("split", f"is {row['split']!r}, none of {', '.join(_SPLITS)}")
        splits[split].append(_described(row, pictures))
    for split in ("train", "val", "test"):
        if not splits[split]:
            raise rows[0].error("split", f"is never {split}")
    check_picture(splits["train"][0].image, remedy)
    return Corpus(splits["train"], {"val": splits["val"], "test": splits["test"]})


def _described(row: TableRow, pictures: Path) -> Described:
    folder = f"{string(row, 'filepath')}/" if row.get("filepath") else ""
    name = folder + row.text("filename")
    image = picture_below(pictures, name, row, "filename")
    raw = (string(sentence, "raw").strip() for sentence in inner_rows(row, "sentences", ("raw",)))
    captions = tuple(caption for caption in raw if caption)
    if not captions:
        raise row.error("sentences", "holds no caption")
    key = integer(row, "cocoid" if "cocoid" in row else "imgid")
    return Described(image, captions, key)
