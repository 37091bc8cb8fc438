"""Pictures with texts: COCO, Flickr30k, NLVR, NLVR2, SNLI-VE, Hateful Memes, RefCOCO."""

import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from xfm.core.errors import UserError
from xfm.data.records import check_box
from xfm.data.tables import TableRow
from xfm.data.tables.json_list import read_plain_pickle
from xfm.evaluation.benchmarks.read.readers import (
    Corpus,
    as_row,
    check_picture,
    chosen,
    folder_of,
    inner_rows,
    integer,
    need,
    picture_below,
    read_json,
    read_json_rows,
    read_lines,
    string,
)
from xfm.tasks.rows import Corners, ImageCaptions, LabelledPictureText, PicturePair, Reference

_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


def read_coco(folder: Path) -> Corpus[ImageCaptions]:
    """COCO: `dataset_coco.json` beside `train2014/` and `val2014/` (or both in `images/`).

    Training includes the split `restval`, as is usual.
    """
    pictures = coco_pictures(folder)
    return _read_karpathy(folder, "dataset_coco.json", pictures, "put COCO's train2014 and val2014 there")


def read_flickr30k(folder: Path) -> Corpus[ImageCaptions]:
    """Flickr30k: `dataset_flickr30k.json` beside `flickr30k-images/` (or `images/`)."""
    pictures = flickr_pictures(folder)
    return _read_karpathy(folder, "dataset_flickr30k.json", pictures, "put Flickr30k's pictures there")


def coco_pictures(folder: Path) -> Path:
    """Folder of COCO's `train2014`, `val2014` and `test2015`: `images` below COCO's, or COCO's itself."""
    images = folder / "images"
    return images if images.is_dir() else folder


def flickr_pictures(folder: Path) -> Path:
    """Folder of the pictures below Flickr30k's."""
    places = [folder / name for name in ("flickr30k-images", "flickr30k_images", "images")]
    return next((place for place in places if place.is_dir()), places[0])


def _read_karpathy(folder: Path, file: str, pictures: Path, remedy: str) -> Corpus[ImageCaptions]:
    path = need(folder, file)
    rows = read_json_rows(path, "images", required=("filename", "sentences", "split"))
    splits: dict[str, list[ImageCaptions]] = defaultdict(list)
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


def _described(row: TableRow, pictures: Path) -> ImageCaptions:
    folder = f"{string(row, 'filepath')}/" if row.get("filepath") else ""
    name = folder + row.text("filename")
    image = picture_below(pictures, name, row, "filename")
    raw = (string(sentence, "raw").strip() for sentence in inner_rows(row, "sentences", ("raw",)))
    captions = tuple(caption for caption in raw if caption)
    if not captions:
        raise row.error("sentences", "holds no caption")
    key = integer(row, "cocoid" if "cocoid" in row else "imgid")
    return ImageCaptions(image, captions, key)


_TRUTH = {"True": True, "False": False, "true": True, "false": False, True: True, False: False}
_WORDS = {True: "true", False: "false"}
_FIELDS = ("identifier", "sentence", "label")


def read_nlvr2(folder: Path) -> Corpus[PicturePair]:
    """NLVR2: `data/{train,dev,test1}.json` (JSON lines), and pictures below `images/` or the folder itself.

    The splits are called dev and test-P (public), as in the literature.
    """
    data = need(folder, "data", "")

    def split(name: str) -> list[PicturePair]:
        rows = read_lines(data / f"{name}.json", _FIELDS)
        places = [folder / "images" / name, folder / name]
        images = folder_of(places, _names(rows[0])[0], f"put NLVR2's folder {name} of pictures there")
        return [_pair(row, images) for row in rows]

    return Corpus(split("train"), {"dev": split("dev"), "test-P": split("test1")})


def _names(row: TableRow) -> tuple[Path, Path]:
    identifier = row.text("identifier")
    stem, dash, _ = identifier.rpartition("-")
    directory = row.get("directory")
    below = "" if directory is None else f"{directory}/"
    if not dash or identifier.count("-") != 3:
        raise row.error("identifier", "is not SPLIT-SET-PAIR-SENTENCE")
    names = (f"{below}{stem}-img{side}.png" for side in (0, 1))
    left, right = (picture_below(Path(), name, row, "identifier") for name in names)
    return left, right


def _pair(row: TableRow, images: Path) -> PicturePair:
    left, right = _names(row)
    pictures = images / left, images / right
    return PicturePair(pictures, row.text("sentence"), chosen(row, "label", _TRUTH), row.text("identifier"))


def read_nlvr(folder: Path) -> Corpus[LabelledPictureText]:
    """The first NLVR: `train/train.json`, `dev/dev.json`, `test/test.json`, each beside its `images/`.

    Each example was drawn in six orders of its boxes: all are training rows, the first that exists is
    tested; if none exists, the first counts as unreadable.
    """

    def split(name: str, orders: int) -> list[LabelledPictureText]:
        rows = read_lines(need(folder, f"{name}/{name}.json"), _FIELDS)
        return [found for row in rows for found in _drawings(row, folder / name / "images", name)[:orders]]

    return Corpus(
        split("train", 6), {"dev": split("dev", 1), "test": split("test", 1)}, classes=("false", "true")
    )


def _drawings(row: TableRow, images: Path, split: str) -> list[LabelledPictureText]:
    identifier, label = row.text("identifier"), _WORDS[chosen(row, "label", _TRUTH)]
    directory = row.get("directory", "")
    names = [f"{directory}/{split}-{identifier}-{order}.png" for order in range(6)]
    places = [picture_below(images, name, row, "identifier") for name in names]
    # Of a name that is too long, `Path.is_file` raises.
    found = [image for image in places if os.path.isfile(image)] or places[:1]
    return [LabelledPictureText(image, row.text("sentence"), label, identifier) for image in found]


ENTAILMENT = ("entailment", "neutral", "contradiction")
HATEFUL = ("not_hateful", "hateful")


def read_snli_ve(folder: Path, images: Path) -> Corpus[LabelledPictureText]:
    """SNLI-VE, `snli_ve_{train,dev,test}.jsonl`, with Flickr30k's pictures and the hypothesis as text.

    Rows without agreement (`-`) are left out, as published.
    """

    open_rows: dict[str, int] = {}

    def split(name: str) -> list[LabelledPictureText]:
        rows = read_lines(need(folder, f"snli_ve_{name}.jsonl"), ("Flickr30K_ID", "sentence2", "gold_label"))
        agreed = [_entailed(row, images) for row in rows if row["gold_label"] != "-"]
        open_rows[name] = len(rows) - len(agreed)
        return agreed

    train, scored = split("train"), {name: split(name) for name in ("dev", "test")}
    check_picture(train[0].image, "put Flickr30k's pictures there")
    counts = ", ".join(f"{count:,} of {name}" for name, count in open_rows.items() if count)
    notes = {"skipped": f"rows on which nobody agreed (-) were skipped, as published: {counts}"}
    return Corpus(train, scored, classes=ENTAILMENT, notes=notes if counts else {})


def _entailed(row: TableRow, images: Path) -> LabelledPictureText:
    number = string(row, "Flickr30K_ID").removesuffix(".jpg")
    image = picture_below(images, f"{number}.jpg", row, "Flickr30K_ID")
    label = chosen(row, "gold_label", {name: name for name in ENTAILMENT})
    return LabelledPictureText(image, string(row, "sentence2"), label, row.get("pairID"))


def read_memes(folder: Path) -> Corpus[LabelledPictureText]:
    """Hateful Memes: `train.jsonl`, `dev_seen.jsonl`, `test_seen.jsonl` and, where they are, the unseen.

    Test files without labels are hidden splits.
    """
    train = _memes(need(folder, "train.jsonl"))
    check_picture(train[0].image, "put the folder img of Hateful Memes there")
    scored: dict[str, list[LabelledPictureText]] = {}
    hidden: dict[str, list[LabelledPictureText]] = {}
    for name in ("dev_seen", "dev", "dev_unseen", "test_seen", "test", "test_unseen"):
        path = folder / f"{name}.jsonl"
        if path.is_file():
            has_labels = "label" in read_lines(path)[0]
            (scored if has_labels else hidden)[name] = _memes(path, has_labels)
    if not scored:
        need(folder, "dev_seen.jsonl")
    return Corpus(train, scored, hidden, HATEFUL)


def _memes(path: Path, labelled: bool = True) -> list[LabelledPictureText]:
    names = dict(enumerate(HATEFUL))
    found: list[LabelledPictureText] = []
    for row in read_lines(path, ("id", "img", "text", *(("label",) if labelled else ()))):
        image = picture_below(path.parent, row.text("img"), row, "img")
        label = chosen(row, "label", names) if labelled else HATEFUL[0]
        found.append(LabelledPictureText(image, string(row, "text"), label, string(row, "id")))
    return found


_ORDER = ("val", "test", "testA", "testB", "testC")


def read_refcoco(folder: Path, images: Path, split_by: Sequence[str]) -> Corpus[Reference]:
    """References of a folder of `refer`, a row a sentence; the first of `split_by` of which there are refs.

    UserError if the pickle holds more than plain values.
    """
    path = need(folder, *(f"refs({name}).{end}" for name in split_by for end in ("p", "json")))
    refs = read_plain_pickle(path) if path.suffix == ".p" else read_json(path)
    if not isinstance(refs, list) or not refs:
        raise UserError(f"{path}: there is no list of references; is it the official file?")
    boxes = _Boxes(need(folder, "instances.json"), images)
    splits: dict[str, list[Reference]] = defaultdict(list)
    for number, value in enumerate(refs, start=1):
        ref = as_row(value, path, number, ("ann_id", "split", "sentences"))
        image, corners = boxes.of(ref)
        for sentence in inner_rows(ref, "sentences", ("sent",)):
            if phrase := string(sentence, "sent").strip():
                splits[ref.text("split")].append(Reference(image, phrase, (corners,)))
    scored = {name: splits[name] for name in _ORDER if splits[name]}
    if not splits["train"] or not scored:
        raise UserError(f"{path}: there are no references to train on or to test; is it the official file?")
    check_picture(splits["train"][0].image, "put COCO's train2014 pictures there")
    return Corpus(splits["train"], scored)


class _Boxes:
    """Pictures and boxes of the annotations that references use; errors in others do not matter."""

    def __init__(self, path: Path, images: Path) -> None:
        self._path, self._images = path, images
        self._pictures = _by_id(read_json_rows(path, "images"))
        self._annotations = _by_id(read_json_rows(path, "annotations"))
        self._needed: dict[int, tuple[Path, Corners]] = {}

    def of(self, ref: TableRow) -> tuple[Path, Corners]:
        """Picture and box of a reference, as fractions of the sides."""
        key = integer(ref, "ann_id")
        if key not in self._needed:
            if key not in self._annotations:
                raise ref.error("ann_id", f"is {key}, which {self._path.name} does not have")
            self._needed[key] = self._box(self._annotations[key])
        return self._needed[key]

    def _box(self, row: TableRow) -> tuple[Path, Corners]:
        picture = self._pictures.get(integer(row, "image_id"))
        if picture is None:
            raise row.error("image_id", "names no picture of the file")
        image = picture_below(self._images, picture.text("file_name"), picture, "file_name")
        width, height = integer(picture, "width"), integer(picture, "height")
        try:
            left, top, w, h = check_box(row.get("bbox"), width, height)
        except ValueError as error:
            raise row.error("bbox", str(error)) from None
        return image, (left / width, top / height, (left + w) / width, (top + h) / height)


def _by_id(rows: Sequence[TableRow]) -> dict[int, TableRow]:
    found: dict[int, TableRow] = {}
    for row in rows:
        with suppress(UserError):
            found[integer(row, "id")] = row
    return found
