"""Pictures with texts: COCO, Flickr30k, NLVR2, RefCOCO."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from xfm.core.errors import UserError
from xfm.data.records import check_box
from xfm.data.tables import TableRow
from xfm.data.tables.json_list import read_plain_pickle
from xfm.evaluation.benchmarks.read import readers
from xfm.tasks.rows import Corners, ImageCaptions, LabelledText, Reference

_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


def read_coco(folder: Path) -> readers.Corpus[ImageCaptions]:
    """COCO: `dataset_coco.json` beside `train2014/` and `val2014/` (or both in `images/`). Training includes
    the split `restval`, as is usual."""
    pictures = coco_images(folder)
    return _read_karpathy(folder, "dataset_coco.json", pictures, "put COCO's train2014 and val2014 there")


def read_flickr30k(folder: Path) -> readers.Corpus[ImageCaptions]:
    """Flickr30k: `dataset_flickr30k.json` beside `flickr30k-images/` (or `images/`)."""
    places = [folder / name for name in ("flickr30k-images", "flickr30k_images", "images")]
    pictures = next((place for place in places if place.is_dir()), places[0])
    return _read_karpathy(folder, "dataset_flickr30k.json", pictures, "put Flickr30k's pictures there")


def coco_images(folder: Path) -> Path:
    """Folder of COCO's `train2014`, `val2014` and `test2015`: `images` below COCO's, or COCO's itself."""
    images = folder / "images"
    return images if images.is_dir() else folder


def _read_karpathy(root: Path, file: str, pictures: Path, remedy: str) -> readers.Corpus[ImageCaptions]:
    path = readers.need(root, file)
    rows = readers.read_json_rows(path, "images", required=("filename", "sentences", "split"))
    splits: dict[str, list[ImageCaptions]] = defaultdict(list)
    for row in rows:
        split = _SPLITS.get(row.text("split"))
        if split is None:
            raise row.error("split", f"is {row['split']!r}, none of {', '.join(_SPLITS)}")
        folder = f"{readers.string(row, 'filepath')}/" if row.get("filepath") else ""
        image = readers.image_below(pictures, folder + row.text("filename"), row, "filename")
        raw = (
            readers.string(sentence, "raw").strip()
            for sentence in readers.inner_rows(row, "sentences", ("raw",))
        )
        captions = tuple(caption for caption in raw if caption)
        if not captions:
            raise row.error("sentences", "holds no caption")
        key = readers.integer(row, "cocoid" if "cocoid" in row else "imgid")
        splits[split].append(ImageCaptions(image, captions, key))
    for split in ("train", "val", "test"):
        if not splits[split]:
            raise rows[0].error("split", f"is never {split}")
    readers.check_image_file(splits["train"][0].image, remedy)
    return readers.Corpus(splits["train"], {"val": splits["val"], "test": splits["test"]})


_TRUTH = {"True": True, "False": False, "true": True, "false": False, True: True, False: False}
_FIELDS = ("identifier", "sentence", "label")


def read_nlvr2(folder: Path) -> readers.Corpus[LabelledText]:
    """NLVR2: `data/{train,dev,test1}.json` (JSON lines), and pictures below `images/` or the folder itself.
    The splits are called dev and test-P (public), as in the literature."""
    data = readers.need(folder, "data", "")

    def split(name: str) -> list[LabelledText]:
        rows = readers.read_lines(data / f"{name}.json", _FIELDS)
        places, first = [folder / "images" / name, folder / name], _names(rows[0])[0]
        images = next((place for place in places if readers.is_there(place / first)), places[0])
        readers.check_image_file(images / first, f"put NLVR2's folder {name} of pictures there")
        found: list[LabelledText] = []
        for row in rows:
            left, right = _names(row)
            truth, key = readers.chosen(row, "label", _TRUTH), row.text("identifier")
            pair = (images / left, images / right)
            found.append(LabelledText(row.text("sentence"), truth, images=pair, key=key))
        return found

    return readers.Corpus(split("train"), {"dev": split("dev"), "test-P": split("test1")})


def _names(row: TableRow) -> tuple[Path, Path]:
    identifier = row.text("identifier")
    stem, dash, _ = identifier.rpartition("-")
    directory = row.get("directory")
    below = "" if directory is None else f"{directory}/"
    if not dash or identifier.count("-") != 3:
        raise row.error("identifier", "is not SPLIT-SET-PAIR-SENTENCE")
    names = (f"{below}{stem}-img{side}.png" for side in (0, 1))
    left, right = (readers.image_below(Path(), name, row, "identifier") for name in names)
    return left, right


_ORDER = ("val", "test", "testA", "testB", "testC")


def read_refcoco(folder: Path, images: Path, split_by: Sequence[str]) -> readers.Corpus[Reference]:
    """References of a folder of `refer`, a row a sentence; the first of `split_by` of which there are refs.
    UserError if the pickle holds more than plain values."""
    path = readers.need(folder, *(f"refs({name}).{end}" for name in split_by for end in ("p", "json")))
    refs = read_plain_pickle(path) if path.suffix == ".p" else readers.read_json(path)
    if not isinstance(refs, list) or not refs:
        raise UserError(f"{path}: there is no list of references; is it the official file?")
    instances = readers.need(folder, "instances.json")
    pictures, annotations = (
        _by_id(readers.read_json_rows(instances, name)) for name in ("images", "annotations")
    )
    boxes: dict[int, tuple[Path, Corners]] = {}  # those that references use: errors in others do not matter
    splits: dict[str, list[Reference]] = defaultdict(list)
    for number, value in enumerate(refs, start=1):
        ref = readers.as_row(value, path, number, ("ann_id", "split", "sentences"))
        key = readers.integer(ref, "ann_id")
        if key not in annotations:
            raise ref.error("ann_id", f"is {key}, which {instances.name} does not have")
        if key not in boxes:
            boxes[key] = _box(annotations[key], pictures, images)
        image, corners = boxes[key]
        for sentence in readers.inner_rows(ref, "sentences", ("sent",)):
            if phrase := readers.string(sentence, "sent").strip():
                splits[ref.text("split")].append(Reference(image, phrase, (corners,)))
    scored = {name: splits[name] for name in _ORDER if splits[name]}
    if not splits["train"] or not scored:
        raise UserError(f"{path}: there are no references to train on or to test; is it the official file?")
    readers.check_image_file(splits["train"][0].image, "put COCO's train2014 pictures there")
    return readers.Corpus(splits["train"], scored)


def _box(row: TableRow, pictures: Mapping[int, TableRow], images: Path) -> tuple[Path, Corners]:
    """Picture and box of an annotation, as fractions of the sides."""
    picture = pictures.get(readers.integer(row, "image_id"))
    if picture is None:
        raise row.error("image_id", "names no picture of the file")
    image = readers.image_below(images, picture.text("file_name"), picture, "file_name")
    width, height = readers.integer(picture, "width"), readers.integer(picture, "height")
    try:
        left, top, w, h = check_box(row.get("bbox"), width, height)
    except ValueError as error:
        raise row.error("bbox", str(error)) from None
    return image, (left / width, top / height, (left + w) / width, (top + h) / height)


def _by_id(rows: Sequence[TableRow]) -> dict[int, TableRow]:
    found: dict[int, TableRow] = {}
    for row in rows:
        with suppress(UserError):
            found[readers.integer(row, "id")] = row
    return found
