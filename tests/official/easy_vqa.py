"""easy-VQA in miniature, as its package lays it out."""

from pathlib import Path

from PIL import Image

from tests.official.pictures import write_json

Row = list[str | int]


def write_easy_vqa(folder: Path, split: str, pictures: list[tuple[int, int, int]], rows: list[Row]) -> None:
    """`SPLIT/questions.json` and, in `SPLIT/images/`, a picture of each colour."""
    (folder / split / "images").mkdir(parents=True)
    for number, colour in enumerate(pictures):
        Image.new("RGB", (64, 64), colour).save(folder / split / "images" / f"{number}.png")
    write_json(folder / split / "questions.json", rows)
