"""Open Images (Kuznetsova et al., 2020)."""

import csv
from collections.abc import Iterator
from pathlib import Path

from xfm.core.errors import UserError, explained
from xfm.corpora.readers.coco import Boxes, add_box, regions_of
from xfm.corpora.source_record import GatheredReader, SourceRecord
from xfm.data.tables.json_list import numbered_lines
from xfm.data.tables.records import open_stored

BOXES = "-annotations-bbox"
SPLITS = ("train", "validation", "test")
_COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")


class OpenImagesReader(GatheredReader):
    """Pictures with class boxes; class names are phrases."""

    licence = "Open Images' annotations: CC BY 4.0; pictures: CC BY 2.0 of whoever took them"

    def inputs(self) -> list[Path]:
        return sum(map(self._boxes, self._named()), [self._classes()])

    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        path = self._classes()
        with open_stored(path) as file:
            rows = [line.text().strip() for line in numbered_lines(file) if not line.too_long]
        with explained(f"{path} is damaged", "download it again", csv.Error):
            cells = (row for row in csv.reader(rows) if len(row) >= 2 and row[0].startswith("/"))
            classes = {row[0]: row[1].strip().lower() for row in cells}
        for split in self._named():
            labels = list(dict.fromkeys(classes.values()))
            numbers = {mid: labels.index(name) for mid, name in classes.items()}
            boxes, named = Boxes[str](), dict(enumerate(labels))
            odd = sum(_read_boxes(path, boxes, numbers) for path in self._boxes(split))
            folders = (split, f"images/{split}", "images")
            folder = next((one for one in folders if (self.source / one).is_dir()), split)
            for name in sorted(boxes):
                regions, left_out = regions_of(boxes[name], named)
                yield SourceRecord(
                    f"{split}/{name}",
                    self.source / folder / f"{name}.jpg",
                    regions=regions,
                    size=(1, 1),
                    left_out=left_out,
                )
            if odd:
                yield SourceRecord(split, flaw=f"{odd} rows are damaged, or of no picture")

    def _find(self, pattern: str) -> list[Path]:
        places = (self.source, self.source / "annotations")
        return sorted(path for place in places for path in place.glob(pattern))

    def _classes(self) -> Path:
        found = self._find("*class-descriptions-boxable*.csv") or self._find("*class-descriptions*.csv")
        if not found:
            raise UserError(f"{self.source} holds no class-descriptions-boxable.csv; download it there")
        return found[0]

    def _named(self) -> list[str]:
        wanted = self.config.splits or [split for split in SPLITS if self._boxes(split)]
        lacking = [split for split in wanted if not self._boxes(split)]
        if lacking or not wanted:
            name = (lacking or ["train"])[0]
            raise UserError(f"{self.source} holds no {name}{BOXES}.csv; download it there, or check --splits")
        return wanted

    def _boxes(self, split: str) -> list[Path]:
        return self._find(f"{split}{BOXES}.csv") + self._find(f"*-{split}{BOXES}.csv")


def _read_boxes(path: Path, boxes: Boxes[str], classes: dict[str, int]) -> int:
    """Number of damaged rows."""
    odd, unknown = 0, len(classes) + 1
    with open_stored(path) as file:
        # Nothing in this file is quoted.
        lines = (line.data.decode("utf-8", "replace") for line in numbered_lines(file) if not line.too_long)
        rows = (line.strip().split(",") for line in lines)
        header = next(rows, [])
        if lacking := [name for name in _COLUMNS if name not in header]:
            raise UserError(f"{path} has no column {lacking[0]}; is it the official file?")
        name_at, label_at, *sides = (header.index(name) for name in _COLUMNS)
        for row in rows:
            try:
                left, right, top, bottom = (float(row[at]) for at in sides)
                label = classes.get(row[label_at], unknown)
                if not (row[name_at].isascii() and row[name_at].isalnum() and len(row[name_at]) <= 64):
                    raise ValueError("not the id of a picture: file names come from nothing else")
                add_box(boxes, row[name_at], label, (left, top, right - left, bottom - top))
            except (IndexError, ValueError):
                odd += 1
    return odd
