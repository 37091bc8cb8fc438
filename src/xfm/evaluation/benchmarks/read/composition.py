"""Composition: Winoground, SugarCrepe, and the relations and attributes of ARO."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.read.image_text import coco_images
from xfm.evaluation.benchmarks.read.readers import (
    Corpus,
    as_row,
    check_image_file,
    image_below,
    need,
    read_json,
    read_json_rows,
    read_lines,
)
from xfm.tasks.rows import CaptionPuzzle

SUGARCREPE = ("replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att", "add_obj", "add_att")
"""Categories, each in a file of its name."""
LEAST_PAIRS = 25
"""Pairs of attributes with fewer rows are in no mean over pairs."""
_TAGS = {"collapsed_tag": "", "secondary_tag": "", "num_main_preds": "main_preds_"}


def read_winoground(data: Path) -> Corpus[CaptionPuzzle]:
    """Winoground below a data folder: `winoground/examples.jsonl` beside `images/`, or both in its `data/`.
    The groups are the tags of its paper: `object`, `relation`, `both`, `symbolic`, ..., `main_preds_1`."""
    path, rows = need(data / "winoground", "examples.jsonl", "data/examples.jsonl"), list[CaptionPuzzle]()
    for row in read_lines(path):
        names = {name: f"{row.text(name)}.png" for name in ("image_0", "image_1")}
        images = [image_below(path.parent / "images", file, row, name) for name, file in names.items()]
        tags = [begin + row.text(name) for name, begin in _TAGS.items() if row.has(name)]
        groups = tuple(re.sub("[^a-z0-9]+", "_", tag.lower()) for tag in tags)
        captions = (row.text("caption_0"), row.text("caption_1"))
        rows.append(CaptionPuzzle(tuple(images), captions, groups, key=row.text("id")))
    check_image_file(rows[0].images[0], "put Winoground's pictures there")
    return Corpus((), {"test": rows}, chooses=False)


def read_sugarcrepe(data: Path) -> Corpus[CaptionPuzzle]:
    """SugarCrepe below a data folder: `sugarcrepe/CATEGORY.json`, or in its `data/`; COCO's `val2017`."""
    images, rows = coco_images(data / "coco") / "val2017", list[CaptionPuzzle]()
    for category in SUGARCREPE:
        path = need(data / "sugarcrepe", f"{category}.json", f"data/{category}.json")
        content = read_json(path)
        if not isinstance(content, dict) or not content:
            raise UserError(f"{path}: there are no objects by number; is it the official file?")
        for number, value in enumerate(content.values(), start=1):
            row = as_row(value, path, number)
            image = image_below(images, row.text("filename"), row, "filename")
            captions = (row.text("caption"), row.text("negative_caption"))
            rows.append(CaptionPuzzle((image,), captions, (category,), key=image.name))
    check_image_file(rows[0].images[0], "put COCO's val2017 there")
    return Corpus((), {"test": rows}, chooses=False)


def read_aro(data: Path) -> Corpus[CaptionPuzzle]:
    """ARO below a data folder: `aro/visual_genome_relation.json` and `visual_genome_attribution.json` beside
    `images/`. A case shows the box of its picture; its kind is the relation, or the pair of attributes."""
    folder, splits = data / "aro", dict[str, list[CaptionPuzzle]]()
    for split, kind, least in (("relation", "relation_name", 1), ("attribution", "attributes", LEAST_PAIRS)):
        rows = list[CaptionPuzzle]()
        for row in read_json_rows(need(folder, f"visual_genome_{split}.json")):
            image = image_below(folder / "images", row.text("image_path"), row, "image_path")
            captions = (row.text("true_caption"), row.text("false_caption"))
            left, top, width, height = map(row.value, ("bbox_x", "bbox_y", "bbox_w", "bbox_h"))
            box = (round(left), round(top), round(left + width), round(top + height))
            rows.append(CaptionPuzzle((image,), captions, (), " and ".join(row.texts(kind)), image.name, box))
        counts = Counter(row.kind for row in rows)
        splits[split] = [row if counts[row.kind] >= least else replace(row, kind="") for row in rows]
        check_image_file(rows[0].images[0], "put ARO's pictures (vgr_vga_images.zip) there")
    return Corpus((), splits, chooses=False)
