"""Retrieval: ranks of the best positives, and the recalls of both directions."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xfm.metrics.classification import Array
from xfm.metrics.intervals import Interval, bootstrap

CUTOFFS = (1, 5, 10)


class Rule(StrEnum):
    """Score that orders candidates; the value ends the keys of a recall."""

    CONTRAST = ""
    RERANK = "_rerank"
    MATCHING = "_matching"


Ranks = dict[Rule, NDArray[np.int64]]
"""For every rule [Q] ranks of each query's best positive, from 0."""


def ranks_of_best_positive(scores: Array, positives: Array) -> NDArray[np.int64]:
    """[Q] int64 rank (from 0) of each query's best positive, from [Q, C] scores and bool positives.

    Ties count against the query. ValueError for other shapes or a query without positive.
    """
    scores, positives = np.asarray(scores), np.asarray(positives, dtype=bool)
    if scores.shape != positives.shape:
        raise ValueError(f"scores {scores.shape} and positives {positives.shape} differ in shape")
    if not positives.any(axis=1).all():
        raise ValueError("every query needs a positive candidate")
    best = np.where(positives, scores, -np.inf).max(axis=1, keepdims=True)  # [Q, 1]
    return ((scores >= best) & ~positives).sum(axis=1).astype(np.int64)


def first_places(counts: Array, candidates: int | Array, k: int) -> NDArray[np.float64]:
    """[Q, k] probability that a random order has a query's first positive at each of the first `k` places."""
    negatives = np.asarray(candidates - np.asarray(counts), dtype=np.float64)  # [Q]
    miss, found = np.ones(len(negatives)), np.zeros((len(negatives), k))
    for draw in range(k):
        missed = miss * np.clip(negatives - draw, 0, None) / np.maximum(candidates - draw, 1)
        found[:, draw] = miss - missed
        miss = missed
    return found


def rank_scores(ranks: Array) -> dict[str, NDArray[np.float64]]:
    """[Q] contributions to R@1/5/10 and MRR@10, by key `r1`, `mrr10`; ranks from 0."""
    found = {f"r{k}": (np.asarray(ranks) < k).astype(np.float64) for k in CUTOFFS}
    reciprocal = 1.0 / (np.asarray(ranks, dtype=np.float64) + 1.0)
    return found | {"mrr10": np.where(found["r10"] > 0, reciprocal, 0.0)}


def rank_chances(counts: Array, candidates: Array) -> dict[str, float]:
    """Expected means of `rank_scores` of a random order; [Q] positives and candidates."""
    places = first_places(counts, candidates, CUTOFFS[-1]).mean(axis=0)  # [10]
    found = {f"r{k}": float(places[:k].sum()) for k in CUTOFFS}
    return found | {"mrr10": float((places / np.arange(1, len(places) + 1)).sum())}


def prefers_first(scores: Sequence[Array]) -> NDArray[np.bool_]:
    """[N] whether the first score, of the true caption, is above all others; a tie is a failure."""
    return np.array([bool((own[0] > own[1:]).all()) for own in scores])


def rerank_gain(text: Ranks, image: Ranks, positives: csr_array, seed: int = 0) -> Interval:
    """Re-ranked minus contrastive R@1, both directions pooled, with its interval; `positives` [I, R] bool.

    The bootstrap resamples a picture with its texts, because both directions of a pair fail together.
    """
    gains = [(ranks[Rule.RERANK] == 0).astype(float) - (ranks[Rule.CONTRAST] == 0) for ranks in (text, image)]
    by_text = positives.tocsc()
    by_text.sort_indices()
    groups = np.concatenate([np.arange(len(gains[0])), by_text.indices[by_text.indptr[:-1]].astype(np.int64)])
    return bootstrap(np.concatenate(gains), groups, seed)


def recalls(text: Ranks, image: Ranks) -> dict[str, float]:
    """R@1/5/10 of both directions by every rule: `text_r1` (the query is a picture), `image_r1`, ..., with
    the `Rule`'s suffix."""
    return {name: float(own.mean()) for name, own in hits(text, image).items()}


def hits(text: Ranks, image: Ranks) -> dict[str, NDArray[np.float64]]:
    """[Q] 1.0 for a query with a positive among the first K, by the keys of `recalls`."""
    return {
        f"{direction}_r{k}{rule}": (np.asarray(found) < k).astype(np.float64)
        for direction, ranks in (("text", text), ("image", image))
        for rule, found in ranks.items()
        for k in CUTOFFS
    }


def chance_recalls(positives: csr_array, among: csr_array | None = None) -> dict[str, float]:
    """Expected `recalls` of a random order, the same by every rule, without its suffix; `among` [I, R] bool,
    which holds the positives, says which candidates come first, in a random order of their own."""
    pictures, texts = positives.shape  # pyright: ignore[reportGeneralTypeIssues]
    return {
        f"{direction}_r{k}": float(first_places(counts, candidates, k).sum(axis=1).mean())
        for direction, axis, total in (("text", 1, texts), ("image", 0, pictures))
        for counts in [np.asarray(positives.sum(axis=axis))]
        for candidates in [total if among is None else np.asarray(among.sum(axis=axis))]
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
    """Expected `tuned_recalls` of a random order."""
    random = chance_recalls(positives)
    random["mean_r1"] = (random["text_r1"] + random["image_r1"]) / 2
    return {f"{name}{rule}": value for rule in rules for name, value in random.items()}


def first_hits(text: Sequence[int], image: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """[I] contributions of pictures with their captions to `mean_r1`; ranks from 0."""
    hits, captions = np.array([float(rank == 0) for rank in text]), sum(map(len, image))
    per_caption = np.array([sum(rank == 0 for rank in own) for own in image])
    return (hits + per_caption * len(text) / captions) / 2


def own_captions(owner: Sequence[int] | Array, pictures: int) -> csr_array:
    """[I, R] bool: a text belongs to its own picture alone, as COCO and Flickr30k are scored."""
    places = np.asarray(owner, dtype=np.int64)
    ones = np.ones(len(places), dtype=bool)
    return csr_array((ones, (places, np.arange(len(places)))), shape=(pictures, len(places)))


def with_equal_captions(owner: Sequence[int] | Array, captions: Sequence[str], pictures: int) -> csr_array:
    """[I, R] bool: a text belongs to its own picture and to the pictures of equal captions."""
    numbers: dict[str, int] = {}
    text = np.array(
        [numbers.setdefault(caption, len(numbers)) for caption in captions], dtype=np.int64
    )  # [R]
    ones, places = np.ones(len(text), dtype=np.int32), np.asarray(owner, dtype=np.int64)
    has = csr_array((ones, (places, text)), shape=(pictures, len(numbers)))  # [I, U] of the distinct texts
    says = csr_array((ones, (text, np.arange(len(text)))), shape=(len(numbers), len(text)))  # [U, R]
    return csr_array(has @ says, dtype=bool)
