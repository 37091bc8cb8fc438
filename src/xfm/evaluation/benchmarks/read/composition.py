"""Composition: Winoground, SugarCrepe, and the relations and attributes of ARO."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.read import readers
from xfm.evaluation.benchmarks.read.image_text import coco_images
from xfm.tasks.rows import CaptionPuzzle

SUGARCREPE = ("replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att", "add_obj", "add_att")
"""Categories, each in a file of its name."""
LEAST_PAIRS = 25
"""Pairs of attributes with fewer rows are in no mean over pairs."""
_TAGS = {"Object": "object", "Relation": "relation", "Both": "both"}
_Splits = dict[str, list[CaptionPuzzle]]


def read_winoground(data: Path) -> readers.Corpus[CaptionPuzzle]:
    """Winoground below a data folder: `winoground/examples.jsonl` beside `images/`, or both in its `data/`.
    Besides `test`, each tag of its paper's table is a split: `object`, `relation`, `both`."""
    path = readers.need(data / "winoground", "examples.jsonl", "data/examples.jsonl")
    splits: _Splits = {"test": []}
    for row in readers.read_lines(path):
        names, folder = ("image_0", "image_1"), path.parent / "images"
        images = tuple(readers.image_below(folder, f"{row.text(name)}.png", row, name) for name in names)
        puzzle = CaptionPuzzle(images, (row.text("caption_0"), row.text("caption_1")), key=row.text("id"))
        for split in ("test", readers.chosen(row, "collapsed_tag", _TAGS)):
            splits.setdefault(split, []).append(puzzle)
    return _checked(splits, "put Winoground's pictures there")


def read_sugarcrepe(data: Path) -> readers.Corpus[CaptionPuzzle]:
    """SugarCrepe below a data folder: `sugarcrepe/CATEGORY.json`, or in its `data/`; COCO's `val2017`. The
    categories are splits, all of them `test`."""
    images, splits = coco_images(data / "coco") / "val2017", _Splits()
    for category in SUGARCREPE:
        path = readers.need(data / "sugarcrepe", f"{category}.json", f"data/{category}.json")
        content = readers.read_json(path)
        if not isinstance(content, dict) or not content:
            raise UserError(f"{path}: there are no objects by number; is it the official file?")
        for number, value in enumerate(content.values(), start=1):
            row = readers.as_row(value, path, number)
            image = readers.image_below(images, row.text("filename"), row, "filename")
            captions = (row.text("caption"), row.text("negative_caption"))
            splits.setdefault(category, []).append(CaptionPuzzle((image,), captions, key=image.name))
    splits["test"] = [row for category in SUGARCREPE for row in splits[category]]
    return _checked(splits, "put COCO's val2017 there")


def read_aro(data: Path) -> readers.Corpus[CaptionPuzzle]:
    """ARO below a data folder: `aro/visual_genome_relation.json` and `visual_genome_attribution.json` beside
    `images/`. A case shows the box of its picture; its kind is the relation, or the pair of attributes."""
    folder, splits = data / "aro", _Splits()
    for split, kind, least in (("relation", "relation_name", 1), ("attribution", "attributes", LEAST_PAIRS)):
        rows = list[CaptionPuzzle]()
        for row in readers.read_json_rows(readers.need(folder, f"visual_genome_{split}.json")):
            image = readers.image_below(folder / "images", row.text("image_path"), row, "image_path")
            captions = (row.text("true_caption"), row.text("false_caption"))
            x, y, width, height = map(row.value, ("bbox_x", "bbox_y", "bbox_w", "bbox_h"))
            left, top, right, bottom = (max(0, round(end)) for end in (x, y, x + width, y + height))
            box, named = (left, top, right, bottom), " and ".join(row.texts(kind))
            rows.append(CaptionPuzzle((image,), captions, named, image.name, box))
        counts = Counter(row.kind for row in rows)
        splits[split] = [row if counts[row.kind] >= least else replace(row, kind="") for row in rows]
    return _checked(splits, "put ARO's pictures (vgr_vga_images.zip) there")


def _checked(splits: _Splits, where: str) -> readers.Corpus[CaptionPuzzle]:
    readers.check_image_file(next(iter(splits.values()))[0].images[0], where)
    return readers.Corpus((), splits, chooses=False)
