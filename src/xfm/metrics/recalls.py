"""Retrieval: ranks of the best positives, and the recalls of both directions."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xfm.metrics.classification import Array
from xfm.metrics.intervals import Interval, bootstrap

CUTOFFS = (1, 5, 10)


class Rule(StrEnum):
    """What candidates are ordered by; the value ends the keys of a recall."""

    CONTRAST = ""
    RERANK = "_rerank"
    MATCHING = "_matching"


Ranks = dict[Rule, NDArray[np.int64]]
"""For every rule [Q] ranks of each query's best positive, from 0."""


def ranks_of_best_positive(scores: Array, positives: Array) -> NDArray[np.int64]:
    """How many negatives are scored at least as high as each query's best positive.

    A tie counts against the query, so that a model that scores everything alike is not rewarded.

    Args:
        scores: [Q, C] float, higher is better.
        positives: [Q, C] bool, at least one True in each row.

    Returns:
        [Q] int64 ranks from 0 (best) to C - 1.

    Raises:
        ValueError: the shapes differ or a query has no positive.
    """
    scores, positives = np.asarray(scores), np.asarray(positives, dtype=bool)
    if scores.shape != positives.shape:
        raise ValueError(f"scores {scores.shape} and positives {positives.shape} differ in shape")
    if not positives.any(axis=1).all():
        raise ValueError("every query needs a positive candidate")
    best = np.where(positives, scores, -np.inf).max(axis=1, keepdims=True)  # [Q, 1]
    return ((scores >= best) & ~positives).sum(axis=1).astype(np.int64)


def first_places(counts: Array, candidates: int | Array, k: int) -> NDArray[np.float64]:
    """[Q, k] how likely a random order has a query's first positive at each of the first `k` places.

    Args:
        counts: [Q] int positives of each query.
        candidates: of every query, or [Q] of each.
        k: length of the list.
    """
    negatives = np.asarray(candidates - np.asarray(counts), dtype=np.float64)  # [Q]
    miss, found = np.ones(len(negatives)), np.zeros((len(negatives), k))
    for draw in range(k):
        missed = miss * np.clip(negatives - draw, 0, None) / np.maximum(candidates - draw, 1)
        found[:, draw] = miss - missed
        miss = missed
    return found


def chance_recall(counts: Array, candidates: int, k: int) -> float:
    """Expected recall at `k` of a random order of the candidates.

    Args:
        counts: [Q] int positives of each query.
        candidates: C, of every query.
        k: length of the list.

    Returns:
        The mean over queries of 1 - P(no positive among k of C drawn without replacement).
    """
    return float(first_places(counts, candidates, k).sum(axis=1).mean())


def rank_scores(ranks: Array) -> dict[str, NDArray[np.float64]]:
    """[Q] what each query adds to R@1/5/10 and to MRR@10, their means, by key: `r1`, `mrr10`.

    Args:
        ranks: [Q] of each query's best positive, from 0.
    """
    found = {f"r{k}": (np.asarray(ranks) < k).astype(np.float64) for k in CUTOFFS}
    reciprocal = 1.0 / (np.asarray(ranks, dtype=np.float64) + 1.0)
    return found | {"mrr10": np.where(found["r10"] > 0, reciprocal, 0.0)}


def rank_chances(counts: Array, candidates: Array) -> dict[str, float]:
    """What the means of `rank_scores` of a random order are expected to be.

    Args:
        counts: [Q] int positives of each query.
        candidates: [Q] int, of each query.
    """
    places = first_places(counts, candidates, CUTOFFS[-1]).mean(axis=0)  # [10]
    found = {f"r{k}": float(places[:k].sum()) for k in CUTOFFS}
    return found | {"mrr10": float((places / np.arange(1, len(places) + 1)).sum())}


def prefers_first(scores: Sequence[Array]) -> NDArray[np.bool_]:
    """Which pictures prefer their own caption to its distractors.

    Args:
        scores: for each picture [1 + n] scores of the true caption (first) and its n distractors.

    Returns:
        [N] bool; a tie is a failure.
    """
    return np.array([bool((own[0] > own[1:]).all()) for own in scores])


@dataclass(frozen=True)
class RetrievalResult:
    """Retrieval in both directions.

    Attributes:
        recalls: R@1/5/10 by key: `text_r1` (text retrieval: the query is a picture), `image_r1`, with
            `_rerank` and `_matching` for the re-ranked orders.
        chances: the same keys without suffix: a random order.
        gain: re-ranked R@1 minus contrastive R@1, both directions pooled, with its 95 % interval.
    """

    recalls: dict[str, float]
    chances: dict[str, float]
    gain: Interval

    def chance(self, recall: str) -> float:
        """The chance of a recall, whatever ranks it: the candidates stay the same."""
        return self.chances["_".join(recall.split("_")[:2])]


def summarise(text: Ranks, image: Ranks, positives: csr_array, seed: int = 0) -> RetrievalResult:
    """Recalls of both directions and the interval of the gain from re-ranking.

    Args:
        text: ranks for the I pictures' queries among texts.
        image: ranks for the R texts' queries among pictures.
        positives: [I, R] bool, which text belongs to which picture; each row and column has one at least.
        seed: of the bootstrap. The unit that is resampled is a picture with its texts, because both
            directions of a pair fail together.
    """
    gain = _pooled_gain(text, image, positives, seed)
    return RetrievalResult(recalls(text, image), _chance_recalls(positives), gain)


def recalls(text: Ranks, image: Ranks) -> dict[str, float]:
    """R@1/5/10 of both directions by every rule, see `RetrievalResult.recalls`."""
    return {name: float(own.mean()) for name, own in hits(text, image).items()}


def hits(text: Ranks, image: Ranks) -> dict[str, NDArray[np.float64]]:
    """[Q] 1 for a query with a positive among the first K, else 0, by the keys of `recalls`."""
    return {
        f"{direction}_r{k}{rule}": (np.asarray(found) < k).astype(np.float64)
        for direction, ranks in (("text", text), ("image", image))
        for rule, found in ranks.items()
        for k in CUTOFFS
    }


def _chance_recalls(positives: csr_array) -> dict[str, float]:
    pictures, texts = sides(positives)
    return {
        f"{direction}_r{k}": chance_recall(np.asarray(positives.sum(axis=axis)), candidates, k)
        for direction, axis, candidates in (("text", 1, texts), ("image", 0, pictures))
        for k in CUTOFFS
    }


def tuned_recalls(text: Ranks, image: Ranks) -> dict[str, float]:
    """`recalls` by every rule, after each the mean of both directions' R@1, as `mean_r1`."""
    found: dict[str, float] = {}
    for rule in text:
        found |= recalls({rule: text[rule]}, {rule: image[rule]})
        found[f"mean_r1{rule}"] = (found[f"text_r1{rule}"] + found[f"image_r1{rule}"]) / 2
    return found


def tuned_chance(positives: csr_array, rules: Sequence[Rule]) -> dict[str, float]:
    """What `tuned_recalls` of a random order are expected to be: the same by every rule."""
    random = _chance_recalls(positives)
    random["mean_r1"] = (random["text_r1"] + random["image_r1"]) / 2
    return {f"{name}{rule}": value for rule in rules for name, value in random.items()}


def first_hits(text: Sequence[int], image: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """[I] what each picture with its captions adds to `mean_r1`, which is their mean.

    Args:
        text: [I] rank of each picture's best caption, from 0.
        image: of each picture the rank for each of its captions.
    """
    hits, captions = np.array([float(rank == 0) for rank in text]), sum(map(len, image))
    per_caption = np.array([sum(rank == 0 for rank in own) for own in image])
    return (hits + per_caption * len(text) / captions) / 2


def preference_chance(distractors: Sequence[int]) -> float:
    """Share of pictures that at random prefer their own caption to so many distractors each."""
    return float(np.mean([1.0 / (1 + count) for count in distractors]))


def _pooled_gain(text: Ranks, image: Ranks, positives: csr_array, seed: int) -> Interval:
    gains = [(ranks[Rule.RERANK] == 0).astype(float) - (ranks[Rule.CONTRAST] == 0) for ranks in (text, image)]
    groups = np.concatenate([np.arange(len(gains[0])), _first_owner(positives)])
    return bootstrap(np.concatenate(gains), groups, seed)


def _first_owner(positives: csr_array) -> NDArray[np.int64]:
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
