"""Pictures of collect.py as pairs for `xfm pretrain`, JPEGs of at most 288 pixels.

    python variants.py COLLECTED OUT

In training a drawing is there on white and as often on a photograph or a colour, smaller and mirrored at
random, so that the model learns the thing and not the white around it; a photograph is there whole and
cut. OUT/art.jsonl has drawings, photographs and all of Open Clip Art, each in four rows, OUT/icons.jsonl
icons, emoji and flags, each in two. A row has its caption three times for every two of its keywords.
OUT/tasks/retrieval has the held-out splits, each with at most 500 captions, all different; `seen` are the
test titles and artists together, and `gallery` pictures of the training that captions are searched among.
OUT/tasks/kinds has folders of Open Clip Art, and of the unseen design Iconify's categories, as labels.
"""

import csv
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps
from tqdm import tqdm

SIDE, SAID, KEYWORDS, ROWS, FEWEST = 288, 3, 2, 500, 60
CATEGORIES = {"symbols", "flags", "people", "objects", "nature", "travel", "food", "activities"}
WHITE = (255, 255, 255, 255)


def on_white(picture: Image.Image) -> Image.Image:
    """A picture whose transparent parts are white."""
    canvas = Image.new("RGBA", picture.size, WHITE)
    canvas.alpha_composite(picture)
    return canvas.convert("RGB")


def elsewhere(picture: Image.Image, backgrounds: list[Path], rng: random.Random) -> Image.Image:
    """A drawing somewhere on a photograph or a colour; a part of a picture without transparent parts."""
    if picture.getchannel("A").getextrema()[0] == 255:
        cut = [round(length * rng.uniform(0.7, 1.0)) for length in picture.size]
        left, top = (rng.randint(0, whole - own) for whole, own in zip(picture.size, cut, strict=True))
        return ImageOps.mirror(picture.crop((left, top, left + cut[0], top + cut[1])).convert("RGB"))
    side = round(max(picture.size) * rng.uniform(1.0, 1.6))
    if rng.random() < 0.6:
        with Image.open(rng.choice(backgrounds)) as found:
            found.draft("RGB", (2 * side, 2 * side))
            cut = round(min(found.size) * rng.uniform(0.4, 1.0))
            left, top = (rng.randint(0, length - cut) for length in found.size)
            canvas = found.convert("RGBA").crop((left, top, left + cut, top + cut)).resize((side, side))
    else:
        canvas = Image.new("RGBA", (side, side), (*(rng.randrange(256) for _ in range(3)), 255))
    picture = ImageOps.mirror(picture) if rng.random() < 0.5 else picture
    place = rng.randint(0, side - picture.width), rng.randint(0, side - picture.height)
    canvas.alpha_composite(picture, place)
    return canvas.convert("RGB")


def main(collected: Path, out: Path) -> None:
    """Write the pictures and the files of pairs."""
    with (collected / "pictures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rng = random.Random(0)
    for folder in ("images", "tasks/images"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    backgrounds = [
        collected / row["image"]
        for row in rows
        if row["split"] == "train" and (row["kind"] == "background" or row["source"] == "wallpapers")
    ]
    pairs: dict[str, list[dict[str, object]]] = {"art": [], "icons": []}
    scored: dict[str, dict[str, str]] = defaultdict(dict)
    kinds: dict[str, list[dict[str, str]]] = defaultdict(list)
    gallery: list[dict[str, object]] = []
    for number, row in enumerate(tqdm(rows, unit="picture")):
        split, caption = row["split"], row["caption"]
        if row["kind"] == "background" or split == "dropped-copy":
            continue
        with Image.open(collected / row["image"]) as found:
            picture = found.convert("RGBA")
        picture.thumbnail((SIDE, SIDE))
        if split != "train":
            on_white(picture).save(out / f"tasks/images/{number:05d}.jpg", quality=90)
            if caption not in scored[split] and len(scored[split]) < ROWS:
                scored[split][caption] = f"{number:05d}.jpg"
            if split != "validation" and (kind := kind_of(row)):
                kinds[row["source"]].append({"image": f"../images/{number:05d}.jpg", "label": kind})
            continue
        keywords = [word for word in row["keywords"].split(";") if word]
        captions = [caption] * SAID + rng.sample(keywords, min(KEYWORDS, len(keywords)))
        art = row["source"] == "openclipart" or row["kind"] in ("drawing", "photo")
        for mark in "abac" if art else "ab":
            name = f"images/{number:05d}{mark}.jpg"
            version = on_white(picture) if mark == "a" else elsewhere(picture, backgrounds, rng)
            version.save(out / name, quality=90)
            pairs["art" if art else "icons"].append({"image": name, "captions": captions})
        gallery.append({"image": f"../images/{number:05d}a.jpg", "captions": [caption, *keywords]})
    for corpus, own in pairs.items():
        write(out / f"{corpus}.jsonl", own)
    scored["seen"] = scored["test-title"] | scored["test-artist"]
    for split, named in scored.items():
        tests = [{"image": f"../images/{name}", "caption": caption} for caption, name in named.items()]
        write(out / f"tasks/retrieval/{split}.jsonl", tests)
    write(out / "tasks/gallery.jsonl", gallery)
    for source, labelled in kinds.items():
        counts = Counter(row["label"] for row in labelled)
        write(
            out / f"tasks/kinds/{source}.jsonl", [one for one in labelled if counts[one["label"]] >= FEWEST]
        )


def kind_of(row: dict[str, str]) -> str | None:
    """The kind of a held-out picture: its folder in Open Clip Art, or the one category of an emoji."""
    if row["source"] == "openclipart":
        return row["image"].split("/")[2]
    [*found] = CATEGORIES & {*row["keywords"].split(";")}
    return found[0] if len(found) == 1 else None


def write(path: Path, rows: Sequence[object]) -> None:
    """Rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(path, len(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
