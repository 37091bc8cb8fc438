"""NLVR2 (Suhr et al., 2019) and the first NLVR (Suhr et al., 2017), as `lil-lab/nlvr` publishes them."""

import os
from pathlib import Path

from xfm.data.tables import TableRow
from xfm.reproduce.files.readers import chosen, need, picture_below, read_lines
from xfm.reproduce.read.corpus import Corpus, check_picture
from xfm.tasks.rows import LabelledPictureText, PicturePair

_TRUTH = {"True": True, "False": False, "true": True, "false": False, True: True, False: False}
_WORDS = {True: "true", False: "false"}
_FIELDS = ("identifier", "sentence", "label")


def read_nlvr2(folder: Path) -> Corpus[PicturePair]:
    """NLVR2: `data/train.json`, `dev.json`, `test1.json` (JSON lines), and `images/train`, `dev`, `test1`.

    The splits are called dev and test-P (public), as in the literature.

    Raises:
        UserError: a file is missing, or a row is not as published.
    """
    data = need(folder, "data", "")

    def split(file: str, images: str) -> list[PicturePair]:
        return [_pair(row, folder / "images" / images) for row in read_lines(data / file, _FIELDS)]

    train = split("train.json", "train")
    check_picture(train[0].images[0], "put NLVR2's folders of pictures below images/")
    return Corpus(train, {"dev": split("dev.json", "dev"), "test-P": split("test1.json", "test1")})


def _pair(row: TableRow, images: Path) -> PicturePair:
    """The pictures are `SPLIT-SET-PAIR-img0.png` and `-img1.png`, in numbered folders where a row says so."""
    identifier = row.text("identifier")
    stem, dash, _ = identifier.rpartition("-")
    directory = row.get("directory")
    below = "" if directory is None else f"{directory}/"
    if not dash or identifier.count("-") != 3:
        raise row.error("identifier", "is not SPLIT-SET-PAIR-SENTENCE")
    names = (f"{below}{stem}-img{side}.png" for side in (0, 1))
    left, right = (picture_below(images, name, row, "identifier") for name in names)
    return PicturePair((left, right), row.text("sentence"), chosen(row, "label", _TRUTH), identifier)


def read_nlvr(folder: Path) -> Corpus[LabelledPictureText]:
    """The first NLVR: `train/train.json`, `dev/dev.json`, `test/test.json`, each beside its `images/`.

    One drawing holds three boxes, so that a row is one picture with a sentence. Every example was drawn in
    six orders of the boxes; all are training rows, the first that is there is tested. Where none is
    there, the first stands for them, as a picture that cannot be read.

    Raises:
        UserError: a file is missing, or a row is not as published.
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
