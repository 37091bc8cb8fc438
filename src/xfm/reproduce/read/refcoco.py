"""RefCOCO, RefCOCO+ and RefCOCOg (Kazemzadeh et al., 2014; Mao et al., 2016) as `refer` publishes them.

A folder holds `refs(unc).p` (or `refs(umd).p`, `refs(google).p`) and `instances.json`. The first is a pickle,
read by an unpickler that can only make plain values.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from xfm.data.records import check_box
from xfm.data.tables import TableRow
from xfm.errors import UserError
from xfm.reproduce.files.readers import (
    as_row,
    inner_rows,
    integer,
    need,
    picture_below,
    read_json,
    read_json_rows,
    string,
)
from xfm.reproduce.files.safe_pickle import read_plain_pickle
from xfm.reproduce.read.corpus import Corpus, check_picture
from xfm.tasks.rows import Corners, Reference

_ORDER = ("val", "test", "testA", "testB", "testC")


def read_refcoco(folder: Path, images: Path, split_by: Sequence[str]) -> Corpus[Reference]:
    """References of a folder of `refer`; every sentence is a row.

    Args:
        folder: holds the refs and `instances.json`.
        images: folder of COCO's train2014 pictures.
        split_by: whose splits are taken: the first of these of which there are refs.

    Raises:
        UserError: a file is missing, the pickle holds more than plain values, or a row is not as published.
    """
    path = need(folder, *(f"refs({name}).{end}" for name in split_by for end in ("p", "json")))
    refs = read_plain_pickle(path) if path.suffix == ".p" else read_json(path)
    if not isinstance(refs, list) or not refs:
        raise UserError(f"{path}: there is no list of references; is it the official file?")
    boxes = _boxes(need(folder, "instances.json"), images)
    splits: dict[str, list[Reference]] = defaultdict(list)
    for number, value in enumerate(refs, start=1):
        ref = as_row(value, path, number, ("ann_id", "split", "sentences"))
        annotation = integer(ref, "ann_id")
        if annotation not in boxes:
            raise ref.error("ann_id", f"is {annotation}, which instances.json does not have")
        image, corners = boxes[annotation]
        for sentence in inner_rows(ref, "sentences", ("sent",)):
            if phrase := string(sentence, "sent").strip():
                splits[ref.text("split")].append(Reference(image, phrase, corners))
    scored = {name: splits[name] for name in _ORDER if splits[name]}
    if not splits["train"] or not scored:
        raise UserError(f"{path}: there are no references to train on or to test; is it the official file?")
    check_picture(splits["train"][0].image, "put COCO's train2014 pictures there")
    return Corpus(splits["train"], scored)


def _boxes(path: Path, images: Path) -> dict[int, tuple[Path, Corners]]:
    """Picture and box of every annotation; boxes as fractions of the picture's sides."""
    pictures: dict[int, tuple[Path, int, int]] = {}
    for row in read_json_rows(path, "images", required=("id", "file_name", "width", "height")):
        place = picture_below(images, row.text("file_name"), row, "file_name")
        pictures[integer(row, "id")] = (place, integer(row, "width"), integer(row, "height"))
    return {
        integer(row, "id"): _box(row, pictures)
        for row in read_json_rows(path, "annotations", required=("id", "image_id", "bbox"))
    }


def _box(row: TableRow, pictures: dict[int, tuple[Path, int, int]]) -> tuple[Path, Corners]:
    picture = pictures.get(integer(row, "image_id"))
    if picture is None:
        raise row.error("image_id", "names no picture of the file")
    image, width, height = picture
    try:
        left, top, w, h = check_box(row["bbox"], width, height)
    except ValueError as error:
        raise row.error("bbox", str(error)) from None
    return image, (left / width, top / height, (left + w) / width, (top + h) / height)
