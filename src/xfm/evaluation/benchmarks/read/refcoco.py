"""RefCOCO, RefCOCO+ and RefCOCOg (Kazemzadeh et al., 2014; Mao et al., 2016) as `refer` publishes them.

A folder holds `refs(unc).p` (or `refs(umd).p`, `refs(google).p`) and `instances.json`. The first is a pickle,
read by an unpickler that can only make plain values.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from xfm.core.errors import UserError
from xfm.data.records import check_box
from xfm.data.tables import TableRow
from xfm.data.tables.json_list import read_plain_pickle
from xfm.evaluation.benchmarks.read.corpus import Corpus, check_picture
from xfm.evaluation.benchmarks.read.readers import (
    as_row,
    inner_rows,
    integer,
    need,
    picture_below,
    read_json,
    read_json_rows,
    string,
)
from xfm.tasks.rows import Corners, Reference

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
