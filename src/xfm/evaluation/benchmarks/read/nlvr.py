"""NLVR2 (Suhr et al., 2019) and the first NLVR (Suhr et al., 2017), as `lil-lab/nlvr` publishes them."""

import os
from pathlib import Path

from xfm.data.tables import TableRow
from xfm.evaluation.benchmarks.read.corpus import Corpus, folder_of
from xfm.evaluation.benchmarks.read.readers import chosen, need, picture_below, read_lines
from xfm.tasks.rows import LabelledPictureText, PicturePair

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
