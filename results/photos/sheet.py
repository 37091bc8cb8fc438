"""Draws what `photos` finds among the held-out drawings of Open Clip Art, which are in the public domain.

    python results/photos/sheet.py PAIRS docs/images/photos.webp

The questions were written before any answer was seen, and none was left out. The gallery has the pictures of
`test-title` and `test-artist`; the nearest six stand behind each question, re-ranked.
"""

import json
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from xfm.config.pipelines import SearchOptions
from xfm.data.skipped import SkippedRecords
from xfm.search.ingest import folder_index
from xfm.search.searching import Searcher

QUESTIONS = (
    "a boat",
    "an owl",
    "a man on a bicycle",
    "something to eat",
    "a musical instrument",
    "a house and trees",
)
SHOWN, SIDE, GAP, WORDS = 6, 132, 10, 210


def main(pairs: Path, out: Path) -> None:
    """Search, and write the sheet as WebP."""
    folder = pairs / "tasks/retrieval"
    with tempfile.TemporaryDirectory() as gallery:
        for split in ("test-title", "test-artist"):
            for line in (folder / f"{split}.jsonl").read_text().splitlines():
                path = (folder / json.loads(line)["image"]).resolve()
                (Path(gallery) / path.name).write_bytes(path.read_bytes())
        sheet = Image.new("RGB", (WORDS + SHOWN * (SIDE + GAP), len(QUESTIONS) * (SIDE + GAP) + GAP), "white")
        draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
        with folder_index(Path(gallery), "photos", SkippedRecords()) as index:
            searcher, options = Searcher(index), SearchOptions(top_k=SHOWN)
            for row, question in enumerate(QUESTIONS):
                top = GAP + row * (SIDE + GAP)
                draw.text((GAP, top + SIDE // 2 - 10), question, fill="black", font=font)
                for column, hit in enumerate(searcher.search(question, options=options).hits):
                    with Image.open(hit["source"]) as found:
                        picture = found.convert("RGB")
                    picture.thumbnail((SIDE, SIDE))
                    left = WORDS + column * (SIDE + GAP)
                    sheet.paste(
                        picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2)
                    )
    sheet.save(out, "webp", quality=82, method=6)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
