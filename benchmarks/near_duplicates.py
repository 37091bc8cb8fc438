"""From which cosine are two pictures copies of one another? On a table's pictures, by the package's models.

    python -m benchmarks.near_duplicates --table collected/pictures.csv --kinds photo,background --json FILE

Each picture is copied at half its size, as a JPEG of quality 40, and cut to the inner 90 and 80 % of its
sides. Reported for each threshold: the share of copies of each kind whose cosine with their original reaches
it; and the share of originals that another original reaches whose pixels differ (by 8 of 255 or more in the
mean, at 16 x 16): false alarms, and photographs of one thing.
"""

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import xfm
from xfm.core.files import write_text

THRESHOLDS = (0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
SIDE, DIFFERENT = 16, 8.0


def copies(picture: Image.Image) -> dict[str, Image.Image]:
    """What people have of one picture."""
    width, height = picture.size
    stored = io.BytesIO()
    picture.save(stored, "jpeg", quality=40)
    found = {
        "half": picture.resize((max(1, width // 2), max(1, height // 2))),
        "quality 40": Image.open(stored),
    }
    for share in (90, 80):
        left, top = (width * (100 - share) // 200, height * (100 - share) // 200)
        found[f"inner {share} %"] = picture.crop((left, top, width - left, height - top))
    return found


def measure(model: str, table: Path, kinds: set[str], most: int) -> dict[str, Any]:
    """Shares by threshold."""
    with table.open(newline="") as rows:
        paths = [table.parent / row["image"] for row in csv.DictReader(rows) if row["kind"] in kinds]
    paths = paths[:: max(1, len(paths) // most)]
    loaded, kept, small = xfm.load(model), list[Image.Image](), list[np.ndarray]()
    for path in paths:
        with Image.open(path) as picture:
            page = Image.new("RGB", picture.size, "white")
            page.paste(picture, mask=picture.convert("RGBA").getchannel("A"))
        kept.append(page)
        small.append(np.asarray(page.resize((SIDE, SIDE)), float))
    vectors = loaded.encode(kept, progress=False)
    cosines = vectors @ vectors.T
    pixels = np.array(small).reshape(len(small), -1)
    same = np.array([np.abs(pixels - one).mean(axis=1) < DIFFERENT for one in pixels])
    nearest = np.where(same, -1, cosines).max(axis=1)
    told: dict[str, Any] = {"model": model, "pictures": len(kept), "other": share(nearest)}
    made = [copies(picture) for picture in kept]
    for kind in made[0]:
        own = loaded.encode([one[kind].convert("RGB") for one in made], progress=False)
        told[kind] = share((own * vectors).sum(axis=1))
    return told


def share(cosines: np.ndarray) -> dict[str, float]:
    """Of how many the cosine reaches each threshold."""
    return {f"{least:g}": round(float((cosines >= least).mean()), 4) for least in THRESHOLDS}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, required=True, help="CSV with the columns image and kind")
    parser.add_argument("--kinds", default="photo,background")
    parser.add_argument("--models", default="photos,small")
    parser.add_argument("--most", type=int, default=500, help="pictures at most")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = [
        measure(model, given.table, set(given.kinds.split(",")), given.most)
        for model in given.models.split(",")
    ]
    text = json.dumps(found, indent=1)
    if given.json:
        write_text(given.json, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
