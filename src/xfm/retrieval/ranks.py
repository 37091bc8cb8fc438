"""The ranks of right answers among any number of pictures and texts, in bounded memory.

Scores are looked at in blocks of queries, and nothing of pictures times texts is ever held: what stays in
memory are the unit vectors, the shortlists and their matching logits; the states are where they were encoded
to.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from xfm.data.collate import LENGTH_STEP
from xfm.metrics.recalls import Ranks, Rule, ranks_of_best_positive
from xfm.modeling.features import EncodedItems, Encoder
from xfm.retrieval.search import MATCHING_WEIGHT, cosines, match, rerank_scores, shortlist
from xfm.training import distributed
from xfm.training.run_on_one_rank import own_part

BLOCK = 2 << 20  # scores of a block of queries


@dataclass(frozen=True)
class ContrastiveSearch:
    """The contrastive search of one direction, Q queries among C candidates.

    Attributes:
        shortlist: [Q, K] int32, candidates that are re-ranked, in ascending order.
        contrast: [Q, K] float32, their cosines.
        positive: [Q, K] bool, which of them belong to the query.
        ranks: [Q] rank of the best positive by contrast.
        below: [Q] rank of the best positive among the candidates beyond the shortlist.
    """

    shortlist: NDArray[np.int32]
    contrast: NDArray[np.float32]
    positive: NDArray[np.bool_]
    ranks: NDArray[np.int64]
    below: NDArray[np.int64]


@dataclass(frozen=True)
class Matched:
    """One direction with the matching logits of its shortlists.

    Attributes:
        found: the shortlists.
        logits: [Q, K, 2] float32.
        temperature: of the contrast.
    """

    found: ContrastiveSearch
    logits: NDArray[np.float32]
    temperature: float

    def scores(self, weight: float = MATCHING_WEIGHT) -> NDArray[np.float64]:
        """[Q, K] by the rule `rerank`."""
        exact = self.logits.astype(np.float64)
        return rerank_scores(self.found.contrast.astype(np.float64), exact, self.temperature, weight)

    def ranks(self, scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """[Q] ranks of the best positive where [Q, K] scores order the shortlists."""
        positive = self.found.positive
        best = np.where(positive, scores, -np.inf).max(axis=1, keepdims=True)
        within = ((scores >= best) & ~positive).sum(axis=1)
        # All of a shortlist without a positive stands before the positives beyond it.
        beyond = positive.shape[1] + self.found.below
        return np.where(positive.any(axis=1), within, beyond)


@dataclass(frozen=True)
class Ranked:
    """Q queries of one direction.

    Attributes:
        ranks: [Q] of each query's best positive, by rule.
        order: [Q, K] int32, the shortlist as re-ranked, the best first.
    """

    ranks: Ranks
    order: NDArray[np.int32]


def rank(
    encoder: Encoder, images: EncodedItems, texts: EncodedItems, positives: csr_array, size: int
) -> tuple[Ranked, Ranked]:
    """Search in both directions.

    Args:
        encoder: the model.
        images: I pictures.
        texts: R texts.
        positives: [I, R] bool, see `own_captions`; every picture and every text has one at least.
        size: candidates K of each query that the matching head re-ranks.

    Returns:
        Texts for the I pictures, and pictures for the R texts.
    """
    text, image = (_ranked(one) for one in match_both(encoder, images, texts, positives, size))
    return text, image


def match_both(
    encoder: Encoder, images: EncodedItems, texts: EncodedItems, positives: csr_array, size: int
) -> tuple[Matched, Matched]:
    """Shortlists and matching logits of both directions; arguments as of `rank`.

    A pair that is on the shortlist of its picture and of its text is fused once. Of several processes, all of
    which have the same pictures and texts, each fuses a part of the pairs.
    """
    count, temperature = len(texts), encoder.model.temperature.item()
    for_images, for_texts = distributed.on_first(  # whose last digits decide
        lambda: (
            _search(encoder, images.vectors, texts.vectors, positives, size, "pictures"),
            _search(encoder, texts.vectors, images.vectors, positives.T.tocsr(), size, "texts"),
        )
    )
    keys = (
        np.arange(len(images))[:, None] * count + for_images.shortlist,  # [I, K]
        for_texts.shortlist.astype(np.int64) * count + np.arange(count)[:, None],  # [R, K]
    )
    wanted = np.unique(np.concatenate([part.ravel() for part in keys]))
    rows = ((wanted // count).astype(np.int32), (wanted % count).astype(np.int32))
    # Texts of about one length together, as a pass is as long as its longest; then the pairs of a picture.
    order = np.lexsort((wanted, -(-texts.states.lengths // LENGTH_STEP)[rows[1]]))
    own = order[own_part(len(order))]
    matched = match(encoder, images.states, texts.states, rows[0][own], rows[1][own])
    logits = np.empty((len(wanted), 2), dtype=np.float32)
    logits[order] = np.concatenate(distributed.collect(matched))
    text, image = (
        Matched(found, logits[np.searchsorted(wanted, part)], temperature)
        for found, part in zip((for_images, for_texts), keys, strict=True)
    )
    return text, image


def _search(
    encoder: Encoder, queries: Tensor, candidates: Tensor, positives: csr_array, size: int, what: str
) -> ContrastiveSearch:
    """Shortlists and ranks by contrast, a block of queries at a time.

    Args:
        encoder: for its bar.
        queries: [Q, E] unit vectors.
        candidates: [C, E] unit vectors.
        positives: [Q, C] bool.
        size: length of the lists.
        what: name of the queries in the bar.
    """
    parts = [
        _search_block(cosines(queries[block], candidates), positives[block].toarray(), size)
        for block in encoder.chunks(len(queries), max(1, BLOCK // len(candidates)), f"shortlists of {what}")
    ]
    fields = zip(*((p.shortlist, p.contrast, p.positive, p.ranks, p.below) for p in parts), strict=True)
    return ContrastiveSearch(*(np.concatenate(values) for values in fields))


def _search_block(contrast: Tensor, positives: NDArray[np.bool_], size: int) -> ContrastiveSearch:
    """`_search` of [B, C] scores and positives."""
    short = np.sort(shortlist(contrast, size)[1].numpy(), axis=1)  # [B, K]
    scores, beyond = contrast.numpy(), np.ones(positives.shape, dtype=bool)
    np.put_along_axis(beyond, short, False, axis=1)
    best = np.where(positives, scores, -np.inf).max(axis=1, keepdims=True)
    return ContrastiveSearch(
        short.astype(np.int32),
        np.take_along_axis(scores, short, axis=1),
        np.take_along_axis(positives, short, axis=1),
        ranks_of_best_positive(scores, positives),
        ((scores >= best) & ~positives & beyond).sum(axis=1),
    )


def _ranked(matched: Matched) -> Ranked:
    found, scores = matched.found, matched.scores()
    ranks = {
        Rule.CONTRAST: found.ranks,
        Rule.RERANK: matched.ranks(scores),
        Rule.MATCHING: matched.ranks(matched.logits[..., 1]),
    }
    places = np.argsort(-scores, axis=1, kind="stable")
    return Ranked(ranks, np.take_along_axis(found.shortlist, places, axis=1))
