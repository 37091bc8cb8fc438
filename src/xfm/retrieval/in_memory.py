"""Zero-shot retrieval between pictures and captions: contrastive scores, then the matching head.

Every picture and caption is encoded once. The contrastive score of a pair is the product of the two unit
vectors; the `shortlist` best candidates of each query are ranked again with the matching head; below the
shortlist the contrastive order stays. Two rules are computed:

- `rerank`: similarity over temperature plus `MATCHING_WEIGHT` times the log-odds of a match. ITM's negatives
  are drawn in proportion to the softmax of the similarities, so that the log-odds estimate how much likelier
  a pair is than ITC believes; the sum is the logarithm of the corrected probability, up to a constant of the
  query. The weight is below one because the log-odds are too sure of themselves.
- `matching`: the matching logit alone (column 1, spec: retrieval score), as published.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from xfm.data.collate import LENGTH_STEP
from xfm.data.shapes import round_up
from xfm.metrics.ranking import ranks_of_best_positive
from xfm.metrics.recalls import RetrievalResult, Rule, summarise
from xfm.modeling.features import Encoder, ImageFeatures, TextFeatures
from xfm.modeling.precision import autocast

MATCHING_WEIGHT = 0.4
"""Where the true candidates of 500 validation scenes are likeliest, with the softmax of the sum over the
shortlist as their probability; docs/differences.md has the numbers."""
PICTURE_STEP = 16  # pictures of a pass are rounded up to a multiple: kernels are built per shape


@torch.inference_mode()
def matching_logits(
    encoder: Encoder, images: ImageFeatures, texts: TextFeatures, pairs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Matching logits of chosen pairs.

    Args:
        encoder: the model.
        images, texts: encoded pictures and texts.
        pairs: [N, 2] int64, (picture, text).

    Returns:
        [N, 2] float64 (unmatched, matched), in the order of `pairs`. Pairs are fused in the order of
        their pictures, so that a pass turns few pictures into keys and values for many texts.
    """
    logits = np.empty((len(pairs), 2))
    order = np.argsort(pairs[:, 0], kind="stable")
    with autocast(encoder.precision, encoder.device):
        for part in encoder.chunks(len(pairs), 4 * encoder.batch_size, "re-ranking"):
            rows = order[part]
            picture, place = torch.from_numpy(pairs[rows, 0]).to(encoder.device).unique(return_inverse=True)
            picture = torch.nn.functional.pad(picture, (0, -len(picture) % PICTURE_STEP))  # few shapes
            text = torch.from_numpy(pairs[rows, 1]).to(encoder.device)
            mask = texts.mask[text]
            length = round_up(int(mask.sum(dim=1).max()), LENGTH_STEP)
            fused = encoder.model.fuse(
                texts.states[text, :length], mask[:, :length], images.states[picture], place
            )
            with encoder.heads():
                logits[rows] = encoder.model.match_logits(fused.float()).cpu().numpy()
    return logits


@dataclass(frozen=True)
class Reranked:
    """Scores of all pictures with all texts; only the order has a meaning.

    Attributes:
        text: [I, R] float64: for each picture (row) the re-ranked texts.
        image: [I, R] float64: for each text (column) the re-ranked pictures.
    """

    text: NDArray[np.float64]
    image: NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Scores of all pictures with all texts.

    Attributes:
        itc: [I, R] float64 contrastive scores (cosines).
        rerank, matching: re-ranked by either rule, see the module.
    """

    itc: NDArray[np.float64]
    rerank: Reranked
    matching: Reranked


def rerank_scores(
    contrast: NDArray[np.float64],
    logits: NDArray[np.float64],
    temperature: float,
    weight: float = MATCHING_WEIGHT,
) -> NDArray[np.float64]:
    """The rule `rerank` (see the module) of [N] cosines and [N, 2] matching logits: [N]."""
    return contrast / temperature + weight * (logits[..., 1] - logits[..., 0])


def cosines(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Products of unit vectors, the same numbers whatever rows are multiplied together.

    Computed in float64 and rounded to float32: a product in float32 has other last digits in a block of other
    shape, which would break ties between equal captions by chance.

    Args:
        first: [N, E] float32.
        second: [M, E] float32.

    Returns:
        [N, M] float64.
    """
    return (first.cpu().double() @ second.cpu().double().T).float().double().numpy()


@dataclass(frozen=True)
class Matched:
    """Contrast of all pictures with all texts, and matching of those on a shortlist.

    Attributes:
        itc: [I, R] float64 contrastive scores (cosines).
        logits: [I, R, 2] float64 matching logits, NaN where a pair is on no shortlist.
        for_image, for_text: [I, R] bool, the shortlist of each picture (row), and of each text (column).
        temperature: of the contrast.
    """

    itc: NDArray[np.float64]
    logits: NDArray[np.float64]
    for_image: NDArray[np.bool_]
    for_text: NDArray[np.bool_]
    temperature: float

    def combined(self, weight: float = MATCHING_WEIGHT) -> NDArray[np.float64]:
        """[I, R] scores by the rule `rerank`, NaN where a pair is on no shortlist."""
        return rerank_scores(self.itc, self.logits, self.temperature, weight)

    def merged(self, scores: NDArray[np.float64]) -> Reranked:
        """Both directions ordered by [I, R] scores on the shortlists, see `merge_ranking`."""
        image = merge_ranking(self.itc.T, scores.T, self.for_text.T).T
        return Reranked(merge_ranking(self.itc, scores, self.for_image), image)


def match_all(encoder: Encoder, images: ImageFeatures, texts: TextFeatures, shortlist: int) -> Matched:
    """Contrast all pairs and match those on the shortlists of either direction.

    A pair that is on the shortlist of its picture and of its text is fused once.

    Args:
        encoder: the model.
        images: I pictures.
        texts: R texts.
        shortlist: candidates of each query.
    """
    itc = cosines(images.vectors, texts.vectors)  # [I, R]
    for_image = shortlisted(itc, shortlist)
    for_text = shortlisted(itc.T, shortlist).T
    pairs = np.argwhere(for_image | for_text)  # [N, 2]
    logits = np.full((*itc.shape, 2), np.nan)
    logits[pairs[:, 0], pairs[:, 1]] = matching_logits(encoder, images, texts, pairs)
    return Matched(itc, logits, for_image, for_text, encoder.model.temperature.item())


def score_all(encoder: Encoder, images: ImageFeatures, texts: TextFeatures, shortlist: int) -> Scores:
    """Contrastive scores of all pairs, and both directions re-ranked; takes what `match_all` takes."""
    found = match_all(encoder, images, texts, shortlist)
    return Scores(found.itc, found.merged(found.combined()), found.merged(found.logits[..., 1]))


def merge_ranking(
    itc: NDArray[np.float64], better: NDArray[np.float64], shortlisted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """One score matrix whose rows are ordered by `better` on the shortlist and by `itc` below it.

    Args:
        itc: [Q, C] contrastive scores.
        better: [Q, C] scores; only those on the shortlist are looked at.
        shortlisted: [Q, C] bool.

    Returns:
        [Q, C]; only the order within a row has a meaning.
    """
    lowest = np.where(shortlisted, better, np.inf).min(axis=1, keepdims=True)  # [Q, 1]
    highest = np.where(shortlisted, -np.inf, itc).max(axis=1, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0.0)
    return np.where(shortlisted, better, itc - highest + lowest - 1.0)


def shortlisted(scores: NDArray[np.float64], k: int) -> NDArray[np.bool_]:
    """[Q, C] bool: the `k` best candidates of each row."""
    k = min(k, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    chosen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(chosen, best, True, axis=1)
    return chosen


def evaluate_scores(
    scores: Scores, positives: NDArray[np.bool_], resamples: int, seed: int
) -> RetrievalResult:
    """Recalls of both directions and the interval of the gain from re-ranking.

    Args:
        scores: of all pairs.
        positives: [I, R] bool, which text belongs to which picture; each row and column has one at least.
        resamples: of the bootstrap, see `summarise`.
        seed: of the bootstrap.
    """
    rerank, matching = scores.rerank, scores.matching
    text = {Rule.CONTRAST: scores.itc, Rule.RERANK: rerank.text, Rule.MATCHING: matching.text}
    image = {Rule.CONTRAST: scores.itc, Rule.RERANK: rerank.image, Rule.MATCHING: matching.image}
    return summarise(
        {rule: ranks_of_best_positive(matrix, positives) for rule, matrix in text.items()},
        {rule: ranks_of_best_positive(matrix.T, positives.T) for rule, matrix in image.items()},
        csr_array(positives),
        resamples,
        seed,
    )


def prefers_first(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Which pictures prefer their own caption to its distractors.

    Args:
        scores: for each picture [1 + n] scores of the true caption (first) and its n distractors.

    Returns:
        [N] bool; a tie is a failure.
    """
    return np.array([bool((own[0] > own[1:]).all()) for own in scores])
