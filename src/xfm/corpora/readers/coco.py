"""COCO (Lin et al., 2014), and corpora in its format, such as Objects365 (Shao et al., 2019). Annotations are
read item by item; joined, they take 40 bytes a box and some 500 a picture: 2 GB for the 25 M boxes of
Objects365."""

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, product
from pathlib import Path
from typing import TypeVar

from xfm.config.corpora import PrepareConfig
from xfm.core.errors import UserError
from xfm.core.files import path_below
from xfm.corpora.images import by_address
from xfm.corpora.source_record import GatheredReader, PhraseBox, SourceRecord, number_or_nan
from xfm.data.tables.json_list import listed_items

CROWD, NO_CLASS = "region of a crowd", "region of a class without name"
_CROWD, _NO_CLASS = -1, -2  # in place of a class
_PREFIXES = ("captions_", "zhiyuan_objv2_", "objects365_", "instances_")
"""Of files of annotations, before the name of the split; the second is Objects365's version 2."""
_TRIED = 200
"""Pictures by which the folder is found that holds them."""
T = TypeVar("T", int, str)
Boxes = dict[T, "array[float]"]
"""Class, left, top, width and height of each box, one after the other, by picture: 40 bytes a box."""


def add_box(boxes: Boxes[T], owner: T, label: float, box: Iterable[float]) -> None:
    """Add a box of a picture."""
    boxes.setdefault(owner, array("d")).extend((label, *box))


def regions_of(
    boxes: Iterable[float], classes: Mapping[int, str]
) -> tuple[tuple[PhraseBox, ...], dict[str, int]]:
    """Boxes of a picture with class names as phrases, and omissions by reason."""
    found, left_out = list[PhraseBox](), Counter[str]()
    for label, *box in zip(*[iter(boxes)] * 5, strict=True):
        if label != _CROWD and (name := classes.get(int(label), "")):
            left, top, width, height = (round(value, 3) for value in box)
            found.append((name, (left, top, width, height)))
        else:
            left_out[CROWD if label == _CROWD else NO_CLASS] += 1
    return tuple(found), dict(left_out)


_Picture = tuple[str, float, float, tuple[str, ...]]
_Split = tuple[dict[int, _Picture], dict[int, list[str]], dict[int, str], Boxes[int], int]
"""Pictures (file, width, height, other names), captions, classes, boxes, and how many items are odd."""


def _read(files: Iterable[Path]) -> _Split:
    pictures, captions, classes = dict[int, _Picture](), dict[int, list[str]](), dict[int, str]()
    boxes, odd = Boxes[int](), 0
    for path in files:
        for name, item in listed_items(path, "images", "annotations", "categories"):
            number = item.get("id") if isinstance(item, dict) else None
            if not isinstance(number, int) or not -(2**62) < number < 2**62:
                odd += 1
            elif name == "images":
                width, height = number_or_nan(item.get("width")), number_or_nan(item.get("height"))
                names = by_address(item.get("flickr_url"))
                pictures.setdefault(number, (str(item.get("file_name") or ""), width, height, names))
            elif name == "categories":
                classes[number] = str(item.get("name") or "").strip()
            else:
                owner, caption = item.get("image_id"), item.get("caption")
                if not isinstance(owner, int) or not -(2**62) < owner < 2**62:
                    odd += 1
                elif isinstance(caption, str):
                    captions.setdefault(owner, []).append(" ".join(caption.split()))
                elif "bbox" in item:
                    label, box = item.get("category_id"), item["bbox"]
                    label = label if isinstance(label, int) and 0 <= label < 2**53 else _NO_CLASS
                    given = isinstance(box, list) and len(box) == 4
                    label = _CROWD if item.get("iscrowd") else label
                    add_box(boxes, owner, label, map(number_or_nan, box if given else [None] * 4))
    return pictures, captions, classes, boxes, odd


class CocoReader(GatheredReader):
    """COCO's captions and instances; class names are phrases. Objects365 has no `own_names` of pictures."""

    licence = "COCO's annotations: CC BY 4.0; pictures: the terms of Flickr and of whoever took them"

    def __init__(self, source: Path, config: PrepareConfig, own_names: bool = True) -> None:
        super().__init__(source, config)
        self.own_names = own_names

    def inputs(self) -> list[Path]:
        return [path for files in self._files().values() for path in files]

    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        seen: dict[int, str] = {}
        for split, files in self._files().items():
            found = _read(files)
            for number in found[0] if self.own_names else ():
                if (other := seen.setdefault(number, split)) != split:
                    told = f"picture {number} is in {other} and in {split}: name one by --splits {split}"
                    raise UserError(f"{self.source}: {told}")
            yield from self._joined(split, found)

    def _files(self) -> dict[str, list[Path]]:
        places, splits = [self.source / "annotations", self.source], self.config.splits
        found: dict[str, list[Path]] = {}
        for place in places:
            for path in sorted(place.glob("*.json")) if place.is_dir() else ():
                prefix = next((one for one in _PREFIXES if path.name.startswith(one)), None)
                if prefix and (not splits or path.stem.removeprefix(prefix) in splits):
                    found.setdefault(path.stem.removeprefix(prefix), []).append(path)
            if found:
                break
        wanted = splits or ([] if found else ["train2014"])
        if lacking := [split for split in wanted if split not in found]:
            told = f"annotations/{_PREFIXES[-1]}{lacking[0]}.json; unpack it there, or check --splits"
            raise UserError(f"{self.source} holds no {told}")
        return dict(sorted(found.items()))

    def _joined(self, split: str, found: _Split) -> Iterator[SourceRecord]:
        pictures, captions, classes, boxes, odd = found
        shown = [(name, number) for number, (name, *_) in sorted(pictures.items())]
        tried = [name for name, _ in islice(shown, _TRIED)]
        part = re.sub(r"_v\d+$", "", split)
        roots = (split, part, f"images/{part}", "images", "")
        for root, skip in product(roots, range(3)):  # of a name that is too long, `Path.is_file` raises
            if any(os.path.isfile(self.source / _below(root, skip, name)) for name in tried if name):
                break
        else:
            root, skip = split, 0
        for name, number in shown:
            _, width, height, names = pictures[number]
            regions, left_out = regions_of(boxes.get(number, ()), classes)
            path = path_below(self.source, _below(root, skip, name)) if name else None
            yield SourceRecord(
                f"{split}/{name or number}",
                path,
                tuple(captions.get(number, ())),
                regions,
                size=(width, height),
                known_as=(f"coco:{number}", *names) if self.own_names else names,
                left_out=left_out,
                flaw="" if path else "the annotations name no file below the corpus",
            )
        odd += sum(len(captions[number]) for number in captions.keys() - pictures.keys())
        odd += sum(len(boxes[number]) // 5 for number in boxes.keys() - pictures.keys())
        if odd:
            yield SourceRecord(split, flaw=f"{odd} annotations are of no picture, or without number")


def _below(root: str, skip: int, name: str) -> str:
    """A name in a folder, without its first folders, which do not exist."""
    parts = name.split("/")
    return "/".join([*([root] if root else []), *parts[min(skip, len(parts) - 1) :]])
