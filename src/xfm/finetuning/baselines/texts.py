"""TF-IDF of words and letters with a linear model: what texts say without a neural network."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xfm.finetuning.baselines.labels import fit_labels
from xfm.finetuning.baselines.linear import LabelledRows, ridge
from xfm.finetuning.baselines.material import BaselinePredictions, Material, both_notes
from xfm.tasks.class_task import ClassTask

MOST, FEWEST, NUMBERS = 100_000, 1_000, 4_000_000
"""Most and fewest n-grams of each sort, and numbers that a classifier of them may have: its solver holds
twenty times as many, so that many classes leave room for fewer n-grams."""
LONGEST = 20_000
"""Characters of a text that are read."""


class TextFeatures:
    """TF-IDF of words (1 and 2) and of letters inside words (2 to 5), fitted to texts.

    Args:
        texts: of the training rows, one or two a row.
        classes: that are told apart by them.

    Attributes:
        cut: that only the most frequent n-grams are used, in words; empty where all are.
    """

    def __init__(self, texts: Sequence[Sequence[str]], classes: int = 1) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_union

        columns = 3 if len(texts[0]) == 2 else 1  # see below
        limit = max(FEWEST, min(MOST, NUMBERS // (2 * columns * max(1, classes))))
        words = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, max_features=limit, token_pattern=r"(?u)\b\w+\b"
        )
        letters = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, max_features=limit
        )
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


def linear_texts(material: Material) -> BaselinePredictions:
    """TF-IDF with logistic regression, or with ridge regression for values."""
    task, splits = material.task, material.splits
    classes = len(task.labels.names) if isinstance(task, ClassTask) else 1
    features = TextFeatures([task.texts_of(row) for row in material.train], classes)
    seen = {
        name: features([task.texts_of(row) for row in rows]) for name, rows in splits.items() if len(rows)
    }
    if isinstance(task, ClassTask):
        own = fit_labels(material, (seen["train"], material.train), (seen.get("valid"), material.valid))
        found, how = material.predicted(lambda name, rows: own.predictions(seen[name])), own.note
    else:
        values = (np.array([float(row.label) for row in splits[name]]) for name in ("train", "valid"))
        train, valid = map(LabelledRows, (seen["train"], seen.get("valid")), values)
        fitted = ridge(train, valid, material.budget)
        found = material.predicted(lambda name, rows: fitted.model.predict(seen[name]).tolist())
        how = fitted.note
    return BaselinePredictions(found, both_notes(material.note, features.cut), how)
