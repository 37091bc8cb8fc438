"""Searches of texts without a neural network: TF-IDF, and BM25."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xfm.finetuning.baselines.material import BaselinePredictions, Material, TooSlow, both_notes
from xfm.finetuning.baselines.texts import LONGEST, TextFeatures
from xfm.tasks.text_search import Nearest, Scores, TextSearch

K1, B = 1.2, 0.75
"""Of BM25, as Lucene has them: how soon repeats of a word stop to count, and what long texts lose."""


def tf_idf(material: Material) -> BaselinePredictions:
    """Cosines of the TF-IDF of words and letters, fitted to the candidates."""
    cuts: dict[str, None] = {}

    def scores(search: TextSearch) -> Scores:
        features = TextFeatures([(text,) for text in search.candidates])
        known = features([(text,) for text in search.candidates])
        cuts[features.cut] = None
        return lambda block: (features([(text,) for text in search.anchors[block]]) @ known.T).toarray() / 2

    found = _found(material, scores)
    return BaselinePredictions(found, both_notes(*cuts))


def bm25(material: Material) -> BaselinePredictions:
    """The probabilistic ranking function of Robertson and others (TREC-3, 1994), by the candidates' words."""
    return BaselinePredictions(_found(material, bm25_scores), how=f"k1 {K1}, b {B}")


def bm25_scores(search: TextSearch) -> Scores:
    """BM25 of all candidates for some anchors.

    A word weighs `log(1 + (C - n + 0.5) / (n + 0.5))` where n of C candidates have it, as in Lucene.
    """
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import CountVectorizer

    vectors = CountVectorizer(token_pattern=r"(?u)\b\w+\b")
    texts = [text[:LONGEST] for text in search.candidates]
    try:
        counts = csr_array(vectors.fit_transform(texts), dtype=np.float64)  # [C, V]
    except ValueError:  # no candidate has a word
        return lambda block: np.zeros((len(search.anchors[block]), len(texts)))
    having = np.diff(counts.tocsc().indptr)  # [V]
    weights = np.log1p((len(texts) - having + 0.5) / (having + 0.5))
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    damping = K1 * (1 - B + B * lengths / lengths.mean())  # [C]
    rows = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
    repeats = counts.data * (K1 + 1) / (counts.data + damping[rows])
    known = csr_array((repeats * weights[counts.indices], counts.indices, counts.indptr), shape=counts.shape)

    def scores(block: slice) -> Any:
        asked = csr_array(vectors.transform([text[:LONGEST] for text in search.anchors[block]]))
        return (asked.astype(np.float64) @ known.T).toarray()

    return scores


def _found(material: Material, scores_of: Callable[[TextSearch], Scores]) -> dict[str, list[Nearest]]:
    """What comes of the scores on every test split.

    Raises:
        TooSlow: it takes longer than four times the budget.
    """

    def answer(name: str, rows: Sequence[Any]) -> list[Nearest]:
        began, search = time.perf_counter(), TextSearch.of(rows)
        scores = scores_of(search)

        def in_time(block: slice) -> Any:
            if (took := time.perf_counter() - began) > 4 * material.budget:
                raise TooSlow(f"{block.start:,} of {len(rows):,} searches took {took:.0f} s: stopped")
            return scores(block)

        return search.ranked(in_time)

    return material.predicted(answer)
