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
from xfm.config.tasks import task_specs
from xfm.models.folder import Pretrained, save_model
from xfm.models.task_models import build_task_model

TASKS = {
    "text-classification": TaskConfig(
        "text-classification", 3, labels=("bad", "fair", "good"), max_tokens=40
    ),
    "sentence-similarity": TaskConfig("sentence-similarity", max_tokens=64),
    "image-classification": TaskConfig("image-classification", 4, labels=tuple(COLOURS)),
    "image-text-classification": TaskConfig("image-text-classification", 2, labels=("no", "yes")),
    "reasoning": TaskConfig("reasoning", 2, labels=("false", "true"), max_tokens=64),
    "vqa": TaskConfig("vqa", answers=("yes", "no", *COLOURS, "a red square", "red blue")),
    "grounding": TaskConfig("grounding"),
    "retrieval": TaskConfig("retrieval"),
    "captioning": TaskConfig("captioning"),
}

EVERY = [spec.name for spec in task_specs()]

NEEDS = {spec.name: None if spec.uses else spec.name for spec in task_specs()}
"""The fine-tuning that a pipeline cannot do without."""

OPTIONS: dict[str, dict[str, Any]] = {
    "zero-shot-image-classification": {"candidate_labels": [*COLOURS]},
    "vqa": {"top_k": 3},
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
        case "text-classification":
            return [
                {"text": text, "text_pair": other} if place % 3 == 0 else text
                for place, (text, other) in enumerate(zip(said, reversed(said), strict=True))
            ]
        case "sentence-similarity":
            return [
                {"anchor": text, "positive": other} for text, other in zip(said, reversed(said), strict=True)
            ]
        case "embed" | "retrieval":
            return [text if place % 2 else shown[which[place][0]] for place, text in enumerate(said)]
        case "fill-mask":
            return _masked(said, shown, which)
        case "reasoning":
            return [
                {"images": [shown[a], shown[b]], "text": text}
                for (a, b), text in zip(which, said, strict=True)
            ]
        case "vqa":
            return [{"image": shown[a], "question": text} for (a, _), text in zip(which, said, strict=True)]
        case "grounding" | "image-text-matching" | "image-text-classification":
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
