"""Tiny fine-tuned models of every kind, and inputs for every pipeline."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.evaluation.tiny import COLOURS, draw, tiny_pretrained
from xfm.config.task import TaskConfig
from xfm.config.tasks import (
    CAPTIONING,
    EMBED,
    FILL_MASK,
    GROUNDING,
    IMAGE_CLASSIFICATION,
    IMAGE_TEXT_CLASSIFICATION,
    MATCHING,
    REASONING,
    RETRIEVAL,
    TEXT_CLASSIFICATION,
    VQA,
    ZERO_SHOT,
    task_specs,
)
from xfm.modeling.folder import Pretrained, save_model
from xfm.modeling.task_models import build_task_model

TASKS = {
    TEXT_CLASSIFICATION.name: TaskConfig(
        TEXT_CLASSIFICATION.name, 3, labels=("bad", "fair", "good"), max_tokens=40
    ),
    IMAGE_CLASSIFICATION.name: TaskConfig(IMAGE_CLASSIFICATION.name, 4, labels=tuple(COLOURS)),
    IMAGE_TEXT_CLASSIFICATION.name: TaskConfig(IMAGE_TEXT_CLASSIFICATION.name, 2, labels=("no", "yes")),
    REASONING.name: TaskConfig(REASONING.name, 2, labels=("false", "true"), max_tokens=64),
    VQA.name: TaskConfig(VQA.name, answers=("yes", "no", *COLOURS, "a red square", "red blue")),
    GROUNDING.name: TaskConfig(GROUNDING.name),
    RETRIEVAL.name: TaskConfig(RETRIEVAL.name),
    CAPTIONING.name: TaskConfig(CAPTIONING.name),
}

EVERY = [spec.name for spec in task_specs()]

NEEDS: dict[str, str | None] = dict.fromkeys(EVERY) | {
    TEXT_CLASSIFICATION.name: TEXT_CLASSIFICATION.name,
    IMAGE_CLASSIFICATION.name: IMAGE_CLASSIFICATION.name,
    IMAGE_TEXT_CLASSIFICATION.name: IMAGE_TEXT_CLASSIFICATION.name,
    VQA.name: VQA.name,
    REASONING.name: REASONING.name,
    CAPTIONING.name: CAPTIONING.name,
}

OPTIONS: dict[str, dict[str, Any]] = {
    ZERO_SHOT.name: {"candidate_labels": [*COLOURS]},
    VQA.name: {"top_k": 3},
}


def tuned(kind: str | None, seed: int = 1) -> Pretrained:
    """A tiny model with all weights spread out, so that inputs make a difference."""
    found = tiny_pretrained(seed)
    torch.manual_seed(seed)
    task = None if kind is None else build_task_model(TASKS[kind], found.model)
    seen: set[int] = set()
    with torch.no_grad():
        for module in filter(None, (found.model, task)):
            for name, parameter in module.named_parameters():
                if id(parameter) not in seen and name != "temperature":
                    parameter.add_(torch.randn_like(parameter) * 0.1)
                seen.add(id(parameter))
    return replace(found, task=task)


def save(folder: Path, found: Pretrained) -> Path:
    save_model(folder, found.model, found.given_tokenizer, found.preprocessing, found.provenance, found.task)
    return folder


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    """Scenes of two squares, of several sizes."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        left, right = rng.choice([*COLOURS], 2, replace=False)
        size = (int(rng.integers(20, 70)), int(rng.integers(20, 70)))
        found.append(draw(left, right, number).resize(size))
    return found


def texts(count: int, seed: int = 0) -> list[str]:
    """From one word to more words than are read."""
    rng = np.random.default_rng(seed)
    words = ("a", "red", "blue", "green", "square", "left", "of", "the", "what", "where", "is", "it", "yes")
    return [" ".join(rng.choice(words, int(rng.integers(1, 45)))) for _ in range(count)]


def inputs(task: str, count: int, seed: int = 0, distinct: int = 4) -> list[Any]:
    """Rows of a task, of which many share a picture."""
    rng = np.random.default_rng(seed)
    shown, said = pictures(distinct, seed), texts(count, seed)
    which = rng.integers(distinct, size=(count, 2)).tolist()
    match task:
        case TEXT_CLASSIFICATION.name:
            return [
                {"text": text, "text_pair": other} if place % 3 == 0 else text
                for place, (text, other) in enumerate(zip(said, reversed(said), strict=True))
            ]
        case EMBED.name | RETRIEVAL.name:
            return [text if place % 2 else shown[which[place][0]] for place, text in enumerate(said)]
        case FILL_MASK.name:
            return _masked(said, shown, which)
        case REASONING.name:
            return [
                {"images": [shown[a], shown[b]], "text": text}
                for (a, b), text in zip(which, said, strict=True)
            ]
        case VQA.name:
            return [{"image": shown[a], "question": text} for (a, _), text in zip(which, said, strict=True)]
        case GROUNDING.name | MATCHING.name | IMAGE_TEXT_CLASSIFICATION.name:
            return [{"image": shown[a], "text": text} for (a, _), text in zip(which, said, strict=True)]
        case _:
            return [shown[a] for a, _ in which]


def _masked(said: Sequence[str], shown: Sequence[Image.Image], which: Sequence[list[int]]) -> list[Any]:
    rows: list[Any] = []
    for place, text in enumerate(said):
        words = text.split()[:15]
        holes = 1 + place % 2
        masked = " ".join(["<mask>"] * holes + words)
        rows.append({"text": masked, "image": shown[which[place][0]]} if place % 3 == 0 else masked)
    return rows
