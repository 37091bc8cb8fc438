"""A tiny model and a tiny world of coloured squares, with every task file of the embedded world."""

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from xfm.config.model import FusionConfig, LanguageConfig, ModelConfig, VisionConfig
from xfm.data.tokenizer import Tokenizer, train_tokenizer
from xfm.modeling.folder import Preprocessing, Pretrained, save_model
from xfm.modeling.xfm import XFM
from xfm.tasks.base import Task, TaskSettings
from xfm.tasks.pictures import Pictures
from xfm.tasks.splits import SplitRows

T = TypeVar("T", bound=Task[Any, Any, Any])
COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220), "yellow": (230, 210, 40)}
SIDE = 32
MANIFEST = {
    "format": 1,
    "seed": 0,
    "objects": {"seen": [{"name": colour} for colour in COLOURS], "heldout": [{"name": "black"}]},
    "licences": {"pictures": "coloured squares, public domain"},
}


def tiny_pretrained(seed: int = 1) -> Pretrained:
    """A randomly initialised model of a few thousand parameters."""
    tokenizer = tiny_tokenizer()
    config = ModelConfig(
        vision=VisionConfig(SIDE, 8, 32, 2, 4, drop_path=0.0, layer_scale=1.0),
        language=LanguageConfig(tokenizer.vocab_size, 32, 2, 4, 64, 130, dropout=0.0),
        fusion=FusionConfig(2, 4, 64, dropout=0.0),
        projection=16,
    )
    torch.manual_seed(seed)
    return Pretrained(XFM(config).eval(), tokenizer, Preprocessing(SIDE), {"recipe": "tiny"})


def tiny_task(
    kind: type[T], rows: Sequence[Any] | SplitRows[Any], labels: tuple[str, ...] = (), **settings: Any
) -> T:
    """A task of the tiny model, on training rows if these are not split."""
    pretrained = tiny_pretrained()
    data = rows if isinstance(rows, SplitRows) else SplitRows(rows, labels=labels)
    return kind(pretrained, Pictures(pretrained.preprocessing), data, TaskSettings(**settings))


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
    """Two squares on a pale ground; `jitter` makes otherwise equal scenes differ."""
    pixels = np.full((SIDE, SIDE, 3), 235, dtype=np.uint8)
    pixels[8:24, 1:13] = COLOURS[left]
    pixels[8:24, 19:31] = COLOURS[right]
    pixels[0, :, :] = 200 - jitter
    return Image.fromarray(pixels)


BOXES = {"left": [1.0, 8.0, 12.0, 16.0], "right": [19.0, 8.0, 12.0, 16.0]}


def write_world(folder: Path) -> Path:
    """Write `tasks/` and a manifest; every split holds the same twelve scenes."""
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
    captions = [f"a {left} square left of a {right} square" for left, right in scenes]
    swapped = [f"a {right} square left of a {left} square" for left, right in scenes]
    pairs = list(zip(names, captions, strict=True))
    retrieval = [{"image": n, "caption": c} for n, c in pairs]
    hard = [{"image": n, "caption": c, "distractors": [s]} for (n, c), s in zip(pairs, swapped, strict=True)]
    questions = [
        {
            "image": n,
            "question": f"what colour is the {side} square?",
            "answer": colour,
            "kind": f"which {side}",
        }
        for n, scene in zip(names, scenes, strict=True)
        for side, colour in zip(("left", "right"), scene, strict=True)
    ]
    sentences = [
        {"images": [n, names[-1]], "text": f"the left square is {colour}", "label": colour == scene[0]}
        for n, scene in zip(names, scenes, strict=True)
        for colour in scene
    ]
    phrases = [
        {"image": n, "phrase": f"the {side} square", "box": BOXES[side]} for n in names for side in BOXES
    ]
    texts = [
        {"text_a": c, "text_b": f"a {left} square", "label": True}
        for c, (left, _) in zip(captions, scenes, strict=True)
    ] + [
        {"text_a": c, "text_b": f"a {other} square", "label": False}
        for c, scene in zip(captions, scenes, strict=True)
        for other in [next(colour for colour in COLOURS if colour not in scene)]
    ]
    labelled = [
        {"image": n, "label": left, "object": left} for n, (left, _) in zip(names, scenes, strict=True)
    ]
    masked = [
        {"image": n, "caption": c, "wrong_image": names[(i + 5) % len(names)]}
        for i, (n, c) in enumerate(pairs)
    ]
    four = ("train", "validation", "seen", "combinations")
    three = ("train", "validation", "test")
    return {
        "retrieval": dict.fromkeys((*four[1:], "objects"), retrieval) | {"hard": hard},
        "vqa": dict.fromkeys(four, questions),
        "reasoning": dict.fromkeys(four, sentences),
        "grounding": dict.fromkeys(four, phrases),
        "entailment": dict.fromkeys(three, texts),
        "paraphrase": dict.fromkeys(three, texts),
        "category": dict.fromkeys(("train", "test"), labelled),
        "masked_token": dict.fromkeys(three[1:], masked),
    }
