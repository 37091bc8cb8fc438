"""A tiny model and a tiny world of coloured squares, with every task file of the embedded world."""

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from xfm.config.encoders import FusionConfig, LanguageConfig, TextPositions, VisionConfig
from xfm.config.model import ModelConfig
from xfm.data.tokenizer import Tokenizer, train_tokenizer
from xfm.models.folder import Preprocessing, Pretrained, save_model
from xfm.models.xfm import XFM
from xfm.tasks.base import Task, TaskSettings
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import SplitRows

T = TypeVar("T", bound=Task[Any, Any, Any])
COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220), "yellow": (230, 210, 40)}
SIDE = 32
QUESTION = "what colour is the {} square?"
MANIFEST = {
    "format": 1,
    "seed": 0,
    "objects": {"seen": [{"name": colour} for colour in COLOURS], "heldout": [{"name": "black"}]},
    "licences": {"pictures": "coloured squares, public domain"},
}


def tiny_pretrained(seed: int = 1) -> Pretrained:
    tokenizer = tiny_tokenizer()
    config = ModelConfig(
        vision=VisionConfig(SIDE, 8, 32, 2, 4, drop_path=0.0, layer_scale=1.0),
        language=LanguageConfig(tokenizer.vocab_size, 32, 2, 4, 64, 130, dropout=0.0),
        fusion=FusionConfig(2, 4, 64, dropout=0.0, positions=TextPositions.SINE),
        projection=16,
    )
    torch.manual_seed(seed)
    return Pretrained(tokenizer, Preprocessing(SIDE), {"recipe": "tiny"}, model=XFM(config).eval())


def tiny_task(
    kind: type[T], rows: Sequence[Any] | SplitRows[Any], labels: tuple[str, ...] = (), **settings: Any
) -> T:
    pretrained = tiny_pretrained()
    data = rows if isinstance(rows, SplitRows) else SplitRows(rows, labels=labels)
    return kind(pretrained, TaskImages(pretrained.preprocessing), data, TaskSettings(**settings))


def tiny_tokenizer() -> Tokenizer:
    texts = [
        f"a {first} square left of a {second} square what colour is the left square where yes no it is"
        for first, second in permutations(COLOURS, 2)
    ]
    return train_tokenizer(texts, 330)


def save_tiny_model(folder: Path, seed: int = 1) -> Path:
    pretrained = tiny_pretrained(seed)
    save_model(
        folder, pretrained.model, pretrained.tokenizer, pretrained.preprocessing, pretrained.provenance
    )
    return folder


def draw(left: str, right: str, jitter: int = 0) -> Image.Image:
    pixels = np.full((SIDE, SIDE, 3), 235, dtype=np.uint8)
    pixels[8:24, 1:13] = COLOURS[left]
    pixels[8:24, 19:31] = COLOURS[right]
    pixels[0, :, :] = 200 - jitter
    return Image.fromarray(pixels)


BOXES = {"left": [1.0, 8.0, 12.0, 16.0], "right": [19.0, 8.0, 12.0, 16.0]}


def write_world(folder: Path) -> Path:
    images = folder / "tasks" / "images"
    images.mkdir(parents=True)
    scenes = list(permutations(COLOURS, 2))
    names = []
    for number, (left, right) in enumerate(scenes):
        draw(left, right, number).save(images / f"{number}.png")
        names.append(f"../images/{number}.png")
    for task, splits in _rows(scenes, names).items():
        for split, rows in splits.items():
            path = folder / "tasks" / task / f"{split}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "world.json").write_text(json.dumps(MANIFEST))
    return folder


def _rows(scenes: list[tuple[str, str]], names: list[str]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    captions, swapped = (
        [f"a {left} square left of a {right} square" for left, right in some]
        for some in (scenes, [scene[::-1] for scene in scenes])
    )
    retrieval = [{"image": name, "caption": text} for name, text in zip(names, captions, strict=True)]
    hard = [{**row, "distractors": [text]} for row, text in zip(retrieval, swapped, strict=True)]
    masked = [{**row, "wrong_image": names[(i + 5) % len(names)]} for i, row in enumerate(retrieval)]
    squares = [
        (name, side, colour, colour == scene[0])
        for name, scene in zip(names, scenes, strict=True)
        for side, colour in zip(BOXES, scene, strict=True)
    ]
    questions = [
        {"image": name, "question": QUESTION.format(side), "answer": colour, "kind": f"which {side}"}
        for name, side, colour, _ in squares
    ]
    sentences = [
        {"images": [name, names[-1]], "text": f"the left square is {colour}", "label": right}
        for name, _, colour, right in squares
    ]
    phrases = [
        {"image": name, "phrase": f"the {side} square", "box": BOXES[side]} for name, side, *_ in squares
    ]
    absent = [next(colour for colour in COLOURS if colour not in scene) for scene in scenes]
    texts = [
        {"text_a": text, "text_b": f"a {colour} square", "label": label}
        for label, colours in ((True, [left for left, _ in scenes]), (False, absent))
        for text, colour in zip(captions, colours, strict=True)
    ]
    labelled = [
        {"image": n, "label": left, "object": left} for n, (left, _) in zip(names, scenes, strict=True)
    ]
    there = [
        {"image": name, "phrase": f"a {colour} square", "present": colour in scene, "kind": "object"}
        for name, scene, other in zip(names, scenes, absent, strict=True)
        for colour in (scene[0], other)
    ]
    four = ("train", "validation", "seen", "combinations")
    three = ("train", "validation", "test")
    return {
        "retrieval": dict.fromkeys((*four[1:], "objects"), retrieval)
        | dict.fromkeys(("hard", "hard_validation"), hard),
        "vqa": dict.fromkeys(four, questions),
        "reasoning": dict.fromkeys(four, sentences),
        "grounding": dict.fromkeys(four, phrases),
        "entailment": dict.fromkeys(three, texts),
        "paraphrase": dict.fromkeys(three, texts),
        "category": dict.fromkeys(("train", "test"), labelled),
        "masked_token": dict.fromkeys(three[1:], masked),
        "absence": dict.fromkeys(three[1:], there),
    }
