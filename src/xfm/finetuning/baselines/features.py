"""What baselines are made of: rows, the task that scores, features of pictures and of texts; and give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from xfm.finetuning.frozen_features import raw_pixels
from xfm.finetuning.probing import drawn
from xfm.metrics.classification import Array
from xfm.models.features import Encoder, image_features
from xfm.models.folder import Pretrained
from xfm.tasks.base import AnyTask
from xfm.tasks.images import TaskImages

LEAST_BUDGET = 60.0
"""Seconds that the search of a penalty may take where the training was shorter; else as long as that."""
SIDE, BATCH = 16, 64
MOST, FEWEST, NUMBERS = 100_000, 1_000, 4_000_000
"""Most and fewest n-grams of each sort, and numbers that a classifier of them may have: its solver holds
twenty times as many, so that many classes leave room for fewer n-grams."""
LONGEST = 20_000
"""Characters of a text that are read."""


BaselinePredictions = tuple[Mapping[str, list[Any]], str]
"""Predictions by test split, and a note on rows and settings."""


@dataclass
class Material:
    """The rows of a fine-tuning for its baselines; `budget` are seconds for the search of a penalty."""

    task: AnyTask
    pretrained: Pretrained
    pictures: TaskImages
    train: Sequence[Any]
    valid: Sequence[Any]
    tests: Mapping[str, Sequence[Any]]
    budget: float = LEAST_BUDGET
    note: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.train, self.note = drawn(self.train, self.task.settings.seed)

    def predicted(self, predict: Callable[[Sequence[Any]], list[Any]], *notes: str) -> BaselinePredictions:
        """Predictions of every test split."""
        found = {name: predict(rows) for name, rows in self.tests.items()}
        return found, "; ".join(filter(None, (*notes[:1], self.note, *notes[1:])))

    def rows(self, rows: Sequence[Any], features: Array) -> Array:
        """[R, D] features of the pictures of rows, one after the other where a row has several."""
        own = [self.task.images_of(row) for row in rows]
        places = np.array([[self.seen.places[path] for path in paths] for paths in own])  # [R, P]
        return features[places].reshape(len(places), -1)

    @cached_property
    def seen(self) -> "ImageFeatures":
        """Features of all pictures, computed once."""
        splits = (*self.tests.values(), self.valid, self.train)
        shown = (path for rows in splits for row in rows for path in self.task.images_of(row))
        paths = list(dict.fromkeys(shown))
        model = self.pretrained.model
        was_training, device = model.training, torch.device(self.task.settings.device)
        encoder = Encoder(model.to(device).eval(), self.pretrained.tokenizer, device=device)
        frozen: list[Array] = []
        pixels: list[Array] = []
        try:
            for start in range(0, len(paths), BATCH):
                own = paths[start : start + BATCH]
                frozen.append(image_features(encoder, [self.pictures.pixels(own)], len(own)))
                pixels.append(raw_pixels(torch.stack([self.pictures.uint8(path) for path in own]), SIDE))
        finally:
            model.to("cpu").train(was_training)
        places = {path: place for place, path in enumerate(paths)}
        return ImageFeatures(places, np.concatenate(frozen), np.concatenate(pixels))


class ImageFeatures(NamedTuple):
    """Features of I pictures by path: `frozen` [I, Dv] float32 is slot 0 of the starting model's vision
    encoder, `pixels` [I, 3 * 16 * 16] float32."""

    places: Mapping[Path, int]
    frozen: Array
    pixels: Array


class TextFeatures:
    """TF-IDF of words (1 and 2) and of letters inside words (2 to 5); `cut` tells what is left out."""

    def __init__(self, texts: Sequence[Sequence[str]], classes: int = 1) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_union

        columns = 3 if len(texts[0]) == 2 else 1  # see below
        limit = max(FEWEST, min(MOST, NUMBERS // (2 * columns * max(1, classes))))
        make = partial(TfidfVectorizer, sublinear_tf=True, max_features=limit)
        words = make(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
        letters = make(analyzer="char_wb", ngram_range=(2, 5))
        self.vectors = make_union(words, letters)
        self.vectors.fit([text[:LONGEST] for own in texts for text in own])
        full = max(len(words.vocabulary_), len(letters.vocabulary_)) >= limit
        self.cut = f"the {limit:,} most frequent n-grams of each sort" if full else ""

    def __call__(self, texts: Sequence[Sequence[str]]) -> Any:
        """[R, D] sparse; of two texts both, and what they have in common."""
        from scipy.sparse import csr_array, hstack

        columns = [
            csr_array(self.vectors.transform([own[place][:LONGEST] for own in texts]))
            for place in range(len(texts[0]) if len(texts) else 0)
        ]
        if len(columns) == 2:
            columns.append(columns[0].multiply(columns[1]))
        return hstack(columns, format="csr") if len(columns) != 1 else columns[0]
