"""COCO (Lin et al., 2014), and corpora in its format, such as Objects365 (Shao et al., 2019).

Annotations are read item by item; joined, they take 30 bytes a box and 300 a picture: half a GB for COCO, 1.5
GB for the 25 M boxes of Objects365.
"""

import os
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from xfm.core.errors import UserError
from xfm.core.files import path_below
from xfm.corpora import image_ids
from xfm.corpora.source_record import GatheredReader, PhraseBox, SourceRecord, number_or_nan
from xfm.data.tables.json_list import listed_items

CROWD, NO_CLASS = "region of a crowd", "region of a class without name"
_CROWD = -1  # in place of a class
_NO_BOX = (float("nan"),) * 4
_TRIED = 200
"""Pictures by which the folder is found that holds them."""


class BoxTable:
    """Boxes of many pictures in flat arrays, 28 bytes each."""

    def __init__(self) -> None:
        self._owners, self._labels, self._boxes = array("q"), array("i"), array("f")

    def add(self, owner: int, label: int, box: Iterable[float]) -> None:
        """A box of four numbers."""
        self._owners.append(owner)
        self._labels.append(label)
        self._boxes.extend(box)

    def sort(self) -> "SortedBoxes":
        """The boxes by picture."""
        owners = np.frombuffer(self._owners, dtype=np.int64) if self._owners else np.empty(0, dtype=np.int64)
        order = np.argsort(owners, kind="stable")
        labels = np.array(self._labels, dtype=np.int32)[order]
        boxes = np.array(self._boxes, dtype=np.float32).reshape(-1, 4)[order]
        return SortedBoxes(owners[order], labels, boxes)


@dataclass(frozen=True)
class SortedBoxes:
    """Boxes [N, 4] float32 with their pictures [N] int64, ascending, and classes [N] int32."""

    owners: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray

    def regions(self, owner: int, classes: Mapping[int, str]) -> tuple[tuple[PhraseBox, ...], dict[str, int]]:
        """Boxes of a picture with class names as phrases, and omissions by reason."""
        found, left_out = list[PhraseBox](), Counter[str]()
        first, last = np.searchsorted(self.owners, [owner, owner + 1])
        for label, box in zip(self.labels[first:last].tolist(), self.boxes[first:last].tolist(), strict=True):
            name = classes.get(label, "")
            if label == _CROWD or not name:
                left_out[CROWD if label == _CROWD else NO_CLASS] += 1
            else:
                left, top, width, height = (round(value, 3) for value in box)
                found.append(PhraseBox(name, (left, top, width, height)))
        return tuple(found), dict(left_out)


@dataclass
class _Split:
    pictures: dict[int, tuple[str, float, float, tuple[str, ...]]] = field(default_factory=dict)
    captions: dict[int, list[str]] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)
    boxes: BoxTable = field(default_factory=BoxTable)
    odd: int = 0

    def read(self, path: Path) -> None:
        for name, item in listed_items(path, "images", "annotations", "categories"):
            number = item.get("id") if isinstance(item, dict) else None
            if not isinstance(number, int) or not -(2**62) < number < 2**62:
                self.odd += 1
            elif name == "images":
                self._picture(number, item)
            elif name == "categories":
                self.classes[number] = str(item.get("name") or "").strip()
            else:
                self._annotation(item)

    def _picture(self, number: int, item: dict[str, Any]) -> None:
        width, height = number_or_nan(item.get("width")), number_or_nan(item.get("height"))
        names = image_ids.by_address(item.get("flickr_url"))
        self.pictures.setdefault(number, (str(item.get("file_name") or ""), width, height, names))

    def _annotation(self, item: dict[str, Any]) -> None:
        owner, caption = item.get("image_id"), item.get("caption")
        if not isinstance(owner, int) or not -(2**62) < owner < 2**62:
            self.odd += 1
        elif isinstance(caption, str):
            self.captions.setdefault(owner, []).append(" ".join(caption.split()))
        elif "bbox" in item:
            label = item.get("category_id")
            label = label if isinstance(label, int) and 0 <= label < 2**31 else 2**31 - 1
            box = item["bbox"]
            given = isinstance(box, list) and len(box) == 4
            self.boxes.add(
                owner, _CROWD if item.get("iscrowd") else label, map(number_or_nan, box) if given else _NO_BOX
            )


class CocoReader(GatheredReader):
    """COCO's captions and instances; class names are phrases."""

    licence = "COCO's annotations: CC BY 4.0; pictures: the terms of Flickr and of whoever took them"
    prefixes: tuple[str, ...] = ("captions_", "instances_")
    own_names = True

    def inputs(self) -> list[Path]:
        return [path for files in self._files().values() for path in files]

    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        seen: dict[int, str] = {}
        for split, files in self._files().items():
            found = _Split()
            for path in files:
                found.read(path)
            for number in found.pictures if self.own_names else ():
                if (other := seen.setdefault(number, split)) != split:
                    raise UserError(
                        f"{self.source}: picture {number} is in {other} and in {split}: name the parts that "
                        f"you want, such as --splits {split}"
                    )
            yield from self._joined(split, found)

    def _files(self) -> dict[str, list[Path]]:
        places, splits = [self.source / "annotations", self.source], self.config.splits
        found: dict[str, list[Path]] = {}
        for place in places:
            for path in sorted(place.glob("*.json")) if place.is_dir() else ():
                prefix = next((one for one in self.prefixes if path.name.startswith(one)), None)
                if prefix and (not splits or path.stem.removeprefix(prefix) in splits):
                    found.setdefault(path.stem.removeprefix(prefix), []).append(path)
            if found:
                break
        wanted = splits or ([] if found else ["train2014"])
        if lacking := [split for split in wanted if split not in found]:
            raise UserError(
                f"{self.source} holds no annotations/{self.prefixes[-1]}{lacking[0]}.json; unpack the "
                "annotations there, or check --splits"
            )
        return dict(sorted(found.items()))

    def _joined(self, split: str, found: _Split) -> Iterator[SourceRecord]:
        boxes = found.boxes.sort()
        shown = [(name, number) for number, (name, *_) in sorted(found.pictures.items())]
        place = self._place(split, [name for name, _ in islice(shown, _TRIED)])
        for name, number in shown:
            _, width, height, names = found.pictures[number]
            regions, left_out = boxes.regions(number, found.classes)
            path = path_below(self.source, place(name)) if name else None
            yield SourceRecord(
                f"{split}/{name or number}",
                path,
                tuple(found.captions.get(number, ())),
                regions,
                size=(width, height),
                known_as=(f"coco:{number}", *names) if self.own_names else names,
                left_out=left_out,
                flaw="" if path else "the annotations name no file below the corpus",
            )
        odd = found.odd + sum(
            len(texts) for owner, texts in found.captions.items() if owner not in found.pictures
        )
        odd += int((~np.isin(boxes.owners, np.array([*found.pictures], dtype=np.int64))).sum())
        if odd:
            yield SourceRecord(split, flaw=f"{odd} annotations are of no picture, or without number")

    def _place(self, split: str, names: list[str]) -> Callable[[str], str]:
        """The place of a picture below the source, by its name in the annotations."""
        part = re.sub(r"_v\d+$", "", split)
        places = [
            partial(_below, root, skip)
            for root in (split, part, f"images/{part}", "images", "")
            for skip in (0, 1, 2)
        ]
        there = (  # of a name that is too long, `Path.is_file` raises
            place
            for place in places
            if any(os.path.isfile(self.source / place(name)) for name in names if name)
        )
        return next(there, places[0])


def _below(root: str, skip: int, name: str) -> str:
    """A name in a folder, without its first folders, which do not exist."""
    parts = name.split("/")
    return "/".join([*([root] if root else []), *parts[min(skip, len(parts) - 1) :]])


class Objects365Reader(CocoReader):
    """Objects365, version 1 or 2."""

    licence = "Objects365's annotations: CC BY 4.0, for research; pictures: the terms of Flickr"
    prefixes = ("zhiyuan_objv2_", "objects365_", "instances_")
    own_names = False
