"""Random pictures, words and damage for the miniature corpora."""

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.evaluation.tiny import COLOURS

WORDS = ("a", "red", "blue", "dog", "cat", "runs", "sits", "near", "the", "big", "car", "two", "on", "grass")


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> Path:
    """A random picture in the format of the path's ending, width x height pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def noisy_colours(root: Path, **counts: int) -> list[Path]:
    """Noisy pictures of four colours in folders of their classes, so many of each in a split."""
    rng, found = np.random.default_rng(0), []
    for (split, count), (name, colour) in product(counts.items(), COLOURS.items()):
        (root / split / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(np.array(colour) + rng.integers(-30, 31, (32, 32, 3)), 0, 255)
            found.append(root / split / name / f"{number}.png")
            Image.fromarray(pixels.astype(np.uint8)).save(found[-1])
    return found


def sentence(rng: random.Random, words: int = 5) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
