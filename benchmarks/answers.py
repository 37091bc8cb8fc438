"""Draws what a quickstart answers: `python benchmarks/answers.py runs/quickstart --world worlds/emoji`.

The picture of the README: a search, four questions and four phrases about the first scenes of the test
splits, with what the models make of them. Nothing is chosen, and what is wrong is marked as such. The art in
the scenes is Twemoji's (CC-BY-4.0).
"""

import argparse
import base64
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from PIL import Image

import xfm
from xfm.core.files import write_text
from xfm.metrics.boxes import paired_iou

COLUMNS, SIDE, GAP, MARGIN, LINE = 4, 176, 20, 28, 17
STYLE = """
  .page { fill: #fff; stroke: #d0d7de }
  text { fill: #1f2328; font: 14px ui-sans-serif, system-ui, sans-serif }
  .title { font-weight: 600; font-size: 15px } .small { fill: #59636e; font-size: 12px }
  text.right { fill: #1a7f37 } text.wrong { fill: #cf222e } .box { fill: none; stroke-width: 3; rx: 3px }
  .box.right { stroke: #2da44e } .box.wrong { stroke: #cf222e }
  .box.true { stroke: #fff; stroke-dasharray: 6 4 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #161b22; stroke: #30363d } text { fill: #e6edf3 } .small { fill: #9198a1 }
    text.right { fill: #3fb950 } text.wrong { fill: #ff7b72 }
  }"""


def rows(world: Path, task: str) -> list[dict[str, Any]]:
    """Rows of the split `seen`, the first of each picture, with the picture's path."""
    folder = world / "tasks" / task
    found: dict[Path, dict[str, Any]] = {}
    for line in (folder / "seen.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.setdefault((folder / row["image"]).resolve(), row)
    return [{**row, "path": path} for path, row in found.items()]


class Sheet:
    """Pictures in rows with lines of text below, as SVG."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.bottom = float(MARGIN)
        self.width = 2 * MARGIN + COLUMNS * SIDE + (COLUMNS - 1) * GAP

    def text(self, words: str, kind: str = "", left: float = MARGIN) -> None:
        """A line of text below what is there."""
        self.bottom += LINE
        self.parts.append(f'<text class="{kind}" x="{left}" y="{self.bottom}">{escape(words)}</text>')

    def pictures(self, cells: list[dict[str, Any]]) -> None:
        """A row of pictures, each with a path, lines of (kind, words), and boxes of (kind, corners)."""
        top = self.bottom + 10
        ends = []
        for column, cell in enumerate(cells):
            left = MARGIN + column * (SIDE + GAP)
            data = base64.b64encode(cell["path"].read_bytes()).decode()
            place = f'x="{left}" y="{top}" width="{SIDE}" height="{SIDE}"'
            self.parts.append(f'<image {place} href="data:image/jpeg;base64,{data}"/>')
            with Image.open(cell["path"]) as picture:
                scale = SIDE / picture.width  # scenes are square
            for kind, corners in cell.get("boxes", ()):
                x, y, right, bottom = (round(scale * value, 1) for value in corners)
                size = f'width="{right - x:.1f}" height="{bottom - y:.1f}"'
                self.parts.append(f'<rect class="box {kind}" x="{left + x}" y="{top + y}" {size}/>')
            self.bottom = top + SIDE + 4
            for kind, words in cell["lines"]:
                for line in wrap(words, 21):
                    self.text(line, kind, left)
            ends.append(self.bottom)
        self.bottom = max(ends) + 26

    def svg(self) -> str:
        """The whole sheet."""
        height = self.bottom + MARGIN - 10
        view = f'viewBox="0 0 {self.width} {height}" width="{self.width}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {view}>'
        page = f'<rect class="page" x=".5" y=".5" width="{self.width - 1}" height="{height - 1}" rx="10"/>'
        return "\n".join([head, f"<style>{STYLE}\n</style>", page, *self.parts, "</svg>", ""])


def searched(model: Path, world: Path) -> tuple[str, list[dict[str, Any]]]:
    """The first caption, and the pictures that are found for it among those of the split."""
    given = rows(world, "retrieval")
    caption, own = given[0]["caption"], given[0]["path"]
    search = xfm.pipeline("retrieval", model=model)
    hits = search(caption, images=[row["path"] for row in given], top_k=COLUMNS)
    cells = []
    for place, hit in enumerate(hits, start=1):
        path = given[hit["index"]]["path"]
        mine = path == own
        words = f"{place}. {'the picture that it describes' if mine else 'another picture'}"
        cells.append({"path": path, "lines": [("right" if mine else "small", words)]})
    return f"“{caption}”, among {len(given):,} pictures", cells


def answered(model: Path, world: Path) -> Iterator[dict[str, Any]]:
    """The first question of each of the first pictures, with its answer."""
    ask = xfm.pipeline("vqa", model=model)
    for row in rows(world, "vqa")[:COLUMNS]:
        said, true = ask(image=row["path"], question=row["question"])[0]["answer"], row["answer"]
        kind, more = ("right", "") if said == true else ("wrong", f" (it is: {true})")
        yield {"path": row["path"], "lines": [("", row["question"]), (kind, said + more)]}


def pointed(model: Path, world: Path) -> Iterator[dict[str, Any]]:
    """The first phrase of each of the first pictures, with the box that is found and the true one."""
    point = xfm.pipeline("grounding", model=model)
    for row in rows(world, "grounding")[:COLUMNS]:
        found = point(image=row["path"], text=row["phrase"])["box"]
        left, top, width, height = row["box"]
        true, said = (left, top, left + width, top + height), tuple(found.values())
        (iou,) = paired_iou(np.array([said]), np.array([true]))
        kind = "right" if iou >= 0.5 else "wrong"
        boxes = [("true", true), (kind, said)]
        yield {"path": row["path"], "lines": [("", row["phrase"]), (kind, f"IoU {iou:.2f}")], "boxes": boxes}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a quickstart")
    parser.add_argument("--world", type=Path, required=True, help="world that xfm prepare wrote")
    parser.add_argument("--out", type=Path, default=Path("docs/images/answers.svg"))
    chosen = parser.parse_args()
    made = json.loads((chosen.run / "model" / "provenance.json").read_text())
    sheet, tasks = Sheet(), chosen.run / "tasks"
    caption, cells = searched(chosen.run / "model", chosen.world)
    questions = list(answered(tasks / "vqa" / "model", chosen.world))
    phrases = list(pointed(tasks / "grounding" / "model", chosen.world))
    for title, about, found in (
        ("Search", caption, cells),
        ("Questions", "", questions),
        ("Phrases", "the box that is found, and dashed the true one", phrases),
    ):
        sheet.text(title, "title")
        for line in wrap(about, 110):
            sheet.text(line)
        sheet.pictures(found)
    steps = f"{made['recipe']}, {made['position']['steps']:,} steps from scratch, seed {made['seed']}"
    sheet.text(
        f"{steps}. The first scenes of the test splits; nothing is chosen. Art: Twemoji, CC-BY-4.0.", "small"
    )
    write_text(chosen.out, sheet.svg())


if __name__ == "__main__":
    main()
