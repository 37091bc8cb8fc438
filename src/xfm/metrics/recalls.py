"""Recalls of a retrieval in both directions from the ranks of the best positives."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xfm.metrics.classification import Array
from xfm.metrics.intervals import Interval, paired_bootstrap
from xfm.metrics.ranking import chance_recall, recall_at

CUTOFFS = (1, 5, 10)


class Rule(StrEnum):
    """What candidates are ordered by; the value ends the keys of a recall."""

    CONTRAST = ""
    RERANK = "_rerank"
    MATCHING = "_matching"


Ranks = dict[Rule, NDArray[np.int64]]
"""For every rule [Q] ranks of each query's best positive, from 0."""


@dataclass(frozen=True)
class RetrievalResult:
    """Retrieval in both directions.

    Attributes:
        recalls: R@1/5/10 by key: `text_r1` (text retrieval: the query is a picture), `image_r1`, with
            `_rerank` and `_matching` for the re-ranked orders.
        chances: the same keys without suffix: a random order.
        gain: re-ranked R@1 minus contrastive R@1, both directions pooled, with its 95 % interval.
        text_ranks, image_ranks: [I] and [R] re-ranked ranks of the best positive.
        ranks: all of them by direction and rule.
    """

    recalls: dict[str, float]
    chances: dict[str, float]
    gain: Interval
    text_ranks: NDArray[np.int64]
    image_ranks: NDArray[np.int64]
    ranks: dict[str, Ranks] = field(default_factory=dict)


def summarise(text: Ranks, image: Ranks, positives: csr_array, resamples: int, seed: int) -> RetrievalResult:
    """Recalls of both directions and the interval of the gain from re-ranking.

    Args:
        text: ranks for the I pictures' queries among texts.
        image: ranks for the R texts' queries among pictures.
        positives: [I, R] bool, which text belongs to which picture; each row and column has one at least.
        resamples: of the bootstrap. The unit that is resampled is a picture with its texts, because both
            directions of a pair fail together.
        seed: of the bootstrap.
    """
    pictures, texts = sides(positives)
    recalls: dict[str, float] = {}
    chances: dict[str, float] = {}
    for direction, ranks, axis, candidates in (("text", text, 1, texts), ("image", image, 0, pictures)):
        for rule, found in ranks.items():
            recalls |= {f"{direction}_r{k}{rule}": recall_at(found, k) for k in CUTOFFS}
        counts = np.asarray(positives.sum(axis=axis))
        chances |= {f"{direction}_r{k}": chance_recall(counts, candidates, k) for k in CUTOFFS}
    gain = _pooled_gain(text, image, positives, resamples, seed)
    ranks = {"text": text, "image": image}
    return RetrievalResult(recalls, chances, gain, text[Rule.RERANK], image[Rule.RERANK], ranks)


def _pooled_gain(text: Ranks, image: Ranks, positives: csr_array, resamples: int, seed: int) -> Interval:
    """Gain per query, summed over a picture and its texts, then averaged as a pooled R@1 would be."""
    text_gain, image_gain = (
        (ranks[Rule.RERANK] == 0).astype(float) - (ranks[Rule.CONTRAST] == 0) for ranks in (text, image)
    )
    owner = _first_owner(positives)
    per_picture = text_gain + np.bincount(owner, weights=image_gain, minlength=len(text_gain))
    queries = len(text_gain) + len(image_gain)
    return paired_bootstrap(per_picture * len(per_picture) / queries, resamples, seed)


def _first_owner(positives: csr_array) -> NDArray[np.int64]:
    """[R] the first picture of each text."""
    by_text = positives.tocsc()
    by_text.sort_indices()
    return by_text.indices[by_text.indptr[:-1]].astype(np.int64)


def sides(positives: csr_array) -> tuple[int, int]:
    """The shape of a sparse matrix, which SciPy's types leave open."""
    rows, columns = positives.shape  # pyright: ignore[reportGeneralTypeIssues]
    return rows, columns


def own_captions(owner: Sequence[int] | Array, pictures: int) -> csr_array:
    """[I, R] bool: every text belongs to its own picture alone, as COCO and Flickr30k are scored.

    Args:
        owner: [R] the picture of each text.
        pictures: I.
    """
    places = np.asarray(owner, dtype=np.int64)
    ones = np.ones(len(places), dtype=bool)
    return csr_array((ones, (places, np.arange(len(places)))), shape=(pictures, len(places)))


def with_equal_captions(owner: Sequence[int] | Array, captions: Sequence[str], pictures: int) -> csr_array:
    """[I, R] bool: a text belongs to its own picture and to the pictures of equal captions.

    Args:
        owner: [R] the picture of each text.
        captions: [R].
        pictures: I.
    """
    numbers: dict[str, int] = {}
    text = np.array(
        [numbers.setdefault(caption, len(numbers)) for caption in captions], dtype=np.int64
    )  # [R]
    ones, places = np.ones(len(text), dtype=np.int32), np.asarray(owner, dtype=np.int64)
    has = csr_array((ones, (places, text)), shape=(pictures, len(numbers)))  # [I, U] of the distinct texts
    says = csr_array((ones, (text, np.arange(len(text)))), shape=(len(numbers), len(text)))  # [U, R]
    return csr_array(has @ says, dtype=bool)
