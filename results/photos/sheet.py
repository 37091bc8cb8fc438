"""Draws what `photos` finds among the held-out drawings of Open Clip Art, which are in the public domain.

    python results/photos/sheet.py PAIRS docs/images/photos.webp

The questions are every 70th title of `test-title`, of which no picture of the training has any; nothing is
chosen. The gallery has the pictures of `test-title` and `test-artist`; the nearest six stand behind each
question, re-ranked, and the question's own picture has a frame.
"""

import json
import sys
import tempfile
from pathlib import Path
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from xfm.config.pipelines import SearchOptions
from xfm.data.skipped import SkippedRecords
from xfm.search.ingest import folder_index
from xfm.search.searching import Searcher

EVERY, QUESTIONS = 70, 6
SHOWN, SIDE, GAP, WORDS = 6, 132, 10, 210


def main(pairs: Path, out: Path) -> None:
    """Search, and write the sheet as WebP."""
    folder = pairs / "tasks/retrieval"
    rows = {
        split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        for split in ("test-title", "test-artist")
    }
    questions = rows["test-title"][EVERY // 2 :: EVERY][:QUESTIONS]
    with tempfile.TemporaryDirectory() as gallery:
        for row in (row for own in rows.values() for row in own):
            path = folder / row["image"]
            (Path(gallery) / path.name).write_bytes(path.read_bytes())
        sheet = Image.new("RGB", (WORDS + SHOWN * (SIDE + GAP), len(questions) * (SIDE + GAP) + GAP), "white")
        draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
        with folder_index(Path(gallery), "photos", SkippedRecords()) as index:
            searcher, options = Searcher(index), SearchOptions(top_k=SHOWN)
            for place, row in enumerate(questions):
                top = GAP + place * (SIDE + GAP)
                title = "\n".join(wrap(row["caption"], 20))
                draw.multiline_text((GAP, top + SIDE // 3), title, fill="black", font=font)
                for column, hit in enumerate(searcher.search(row["caption"], options=options).hits):
                    with Image.open(hit["source"]) as found:
                        picture = found.convert("RGB")
                    picture.thumbnail((SIDE - 8, SIDE - 8))
                    left = WORDS + column * (SIDE + GAP)
                    inner = left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2
                    sheet.paste(picture, inner)
                    if Path(hit["source"]).name == Path(row["image"]).name:
                        draw.rectangle((left, top, left + SIDE, top + SIDE), outline="#1a7f37", width=3)
    sheet.save(out, "webp", quality=82, method=6)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
