"""A search in two steps: the nearest candidates by contrast, then the matching head orders them again.

Whoever searches encodes a gallery once (`xfm.models.features`), takes the `shortlist` of a block of
queries, has the pairs on it matched (`match`), and orders them by one of two rules:

- `rerank`: similarity over temperature plus the log-odds of a match. ITM's negatives are drawn in proportion
  to the softmax of the similarities, so that the log-odds say how much likelier a pair is than ITC believes;
  the sum is the logarithm of the corrected probability, up to a constant of the query.
- `matching`: the matching logit alone (column 1, spec: retrieval score), as published.

Below the shortlist the contrastive order stays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from xfm.data.collate import LENGTH_STEP, round_up
from xfm.metrics.recalls import Ranks, Rule, ranks_of_best_positive
from xfm.models.features import EncodedItems, Encoder
from xfm.models.precision import autocast
from xfm.training import distributed
from xfm.training.collectives import own_part

MATCHING_WEIGHT = 1.0
"""Of the log-odds in the sum: also where the true candidates of 500 validation scenes are likeliest, with the
softmax of the sum over the shortlist as their probability; docs/differences.md has the numbers."""
CONTRAST = "contrast alone"
"""The baseline of everything that asks the matching head."""
PICTURE_STEP = 16
"""Pictures of a large pass are rounded up to a multiple: kernels are built per shape."""


StateReader = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
"""Numbers of pictures or texts -> states [N, T, D] and a mask [N, T] bool of the real ones, such as
`xfm.models.features.States.read`."""


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """[N, E] and [M, E] unit vectors -> [N, M] float32, computed in float64: float32 products depend on the
    block's shape, which would break ties by chance."""
    return (first.double() @ second.double().T).float()


def shortlist(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Scores [Q, C] -> the best `count` scores and places [Q, K], best first."""
    return scores.topk(min(count, scores.shape[1]), dim=1)


@torch.inference_mode()
def match(
    encoder: Encoder,
    images: StateReader,
    texts: StateReader,
    image_rows: NDArray[np.integer],
    text_rows: NDArray[np.integer],
) -> NDArray[np.float32]:
    """Matching logits [N, 2] float32 (unmatched, matched) of pairs. Pairs of one picture, and texts of one
    length, should stand together."""
    logits = np.empty((len(image_rows), 2), dtype=np.float32)
    with autocast(encoder.precision, encoder.device):
        for part in encoder.chunks(len(image_rows), 4 * encoder.batch_size, "re-ranking"):
            distinct, place = np.unique(image_rows[part], return_inverse=True)
            states, mask = texts(text_rows[part].astype(np.int64))
            extra = round_up(states.shape[1], LENGTH_STEP) - states.shape[1]
            few = -len(distinct) % PICTURE_STEP if len(distinct) > PICTURE_STEP else 0  # the last, repeated
            shown, _ = images(np.pad(distinct.astype(np.int64), (0, few), mode="edge"))
            fused = encoder.model.fuse_first(
                torch.nn.functional.pad(states, (0, 0, 0, extra)).to(encoder.device),
                torch.nn.functional.pad(mask, (0, extra)).to(encoder.device),
                shown.to(encoder.device),
                torch.from_numpy(place).to(encoder.device),
            )
            with encoder.heads():
                logits[part] = encoder.model.match_logits(fused.float()).cpu().numpy()
    return logits


def rerank_scores(
    contrast: NDArray[np.float64],
    logits: NDArray[np.float64],
    temperature: float,
    weight: float = MATCHING_WEIGHT,
) -> NDArray[np.float64]:
    """The rule `rerank` (see the module) of [N] cosines and [N, 2] matching logits: [N]."""
    return contrast / temperature + weight * match_odds(logits)


def match_odds(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """[...] log-odds of a match, of [..., 2] logits; they do not saturate, as probabilities do."""
    return logits[..., 1].astype(np.float64) - logits[..., 0]


def pair_scores(
    encoder: Encoder,
    images: EncodedItems,
    texts: EncodedItems,
    image_rows: NDArray[np.int64],
    text_rows: NDArray[np.int64],
) -> dict[Rule, NDArray[np.float64]]:
    """[N] scores by every rule of the pairs of pictures and texts at some rows, in an order as of `match`."""
    vectors = images.vectors[torch.from_numpy(image_rows)] * texts.vectors[torch.from_numpy(text_rows)]
    contrast = vectors.sum(-1).double().numpy()
    logits = match(encoder, images.states.read, texts.states.read, image_rows, text_rows).astype(np.float64)
    joined = rerank_scores(contrast, logits, encoder.model.temperature.item())
    return {Rule.MATCHING: logits[:, 1], Rule.CONTRAST: contrast, Rule.RERANK: joined}


BLOCK = 2 << 20  # scores of a block of queries


@dataclass(frozen=True)
class MatchedSearch:
    """Q queries: shortlist [Q, K] int32 in ascending order, contrast [Q, K] float32, positive [Q, K] bool,
    rank [Q] of the best positive by contrast, and its rank beyond the shortlist; matching logits [Q, K, 2]
    float32."""

    shortlist: NDArray[np.int32]
    contrast: NDArray[np.float32]
    positive: NDArray[np.bool_]
    contrast_ranks: NDArray[np.int64]
    below: NDArray[np.int64]
    logits: NDArray[np.float32]
    temperature: float

    def scores(self, weight: float = MATCHING_WEIGHT) -> NDArray[np.float64]:
        """[Q, K] by the rule `rerank`."""
        exact = self.logits.astype(np.float64)
        return rerank_scores(self.contrast.astype(np.float64), exact, self.temperature, weight)

    def ranks(self, scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """[Q] ranks of the best positive where [Q, K] scores order the shortlists."""
        positive = self.positive
        best = np.where(positive, scores, -np.inf).max(axis=1, keepdims=True)
        within = ((scores >= best) & ~positive).sum(axis=1)
        # All of a shortlist without a positive stands before the positives beyond it.
        beyond = positive.shape[1] + self.below
        return np.where(positive.any(axis=1), within, beyond)


@dataclass(frozen=True)
class Ranking:
    """Ranks [Q] of the best positive by rule, and the re-ranked shortlist [Q, K] int32."""

    ranks: Ranks
    order: NDArray[np.int32]


def rank(
    encoder: Encoder, images: EncodedItems, texts: EncodedItems, positives: csr_array, size: int
) -> tuple[Ranking, Ranking]:
    """Search I pictures and R texts in both directions; positives [I, R] bool, one in each row and column;
    `size` candidates are re-ranked."""
    found = list[Ranking]()
    for matched in match_both(encoder, images, texts, positives, size):
        scores = matched.scores()
        ranks = {
            Rule.CONTRAST: matched.contrast_ranks,
            Rule.RERANK: matched.ranks(scores),
            Rule.MATCHING: matched.ranks(matched.logits[..., 1]),
        }
        places = np.argsort(-scores, axis=1, kind="stable")
        found.append(Ranking(ranks, np.take_along_axis(matched.shortlist, places, axis=1)))
    text, image = found
    return text, image


def match_both(
    encoder: Encoder, images: EncodedItems, texts: EncodedItems, positives: csr_array, size: int
) -> tuple[MatchedSearch, MatchedSearch]:
    """Shortlists and matching logits of both directions, arguments as of `rank`. A pair on both lists is
    fused once; each process fuses a part."""
    count, temperature = len(texts), encoder.model.temperature.item()
    for_images, for_texts = distributed.on_first(  # whose last digits decide
        lambda: (
            _search(encoder, images.vectors, texts.vectors, positives, size, "pictures"),
            _search(encoder, texts.vectors, images.vectors, positives.T.tocsr(), size, "texts"),
        )
    )
    keys = (
        np.arange(len(images))[:, None] * count + for_images[0],  # [I, K]
        for_texts[0].astype(np.int64) * count + np.arange(count)[:, None],  # [R, K]
    )
    wanted = np.unique(np.concatenate([part.ravel() for part in keys]))
    rows = ((wanted // count).astype(np.int32), (wanted % count).astype(np.int32))
    # Texts of about one length together, as a pass is as long as its longest; then the pairs of a picture.
    order = np.lexsort((wanted, -(-texts.states.lengths // LENGTH_STEP)[rows[1]]))
    own = order[own_part(len(order))]
    matched = match(encoder, images.states.read, texts.states.read, rows[0][own], rows[1][own])
    logits = np.empty((len(wanted), 2), dtype=np.float32)
    logits[order] = np.concatenate(distributed.collect(matched))
    text, image = (
        MatchedSearch(*found, logits=logits[np.searchsorted(wanted, part)], temperature=temperature)
        for found, part in zip((for_images, for_texts), keys, strict=True)
    )
    return text, image


def _search(
    encoder: Encoder, queries: Tensor, candidates: Tensor, positives: csr_array, size: int, what: str
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    parts: list[tuple[NDArray[Any], ...]] = []  # the first five fields of `MatchedSearch`
    for block in encoder.chunks(len(queries), max(1, BLOCK // len(candidates)), f"shortlists of {what}"):
        contrast, right = cosines(queries[block], candidates), positives[block].toarray()
        short = np.sort(shortlist(contrast, size)[1].numpy(), axis=1)  # [B, K]
        scores, beyond = contrast.numpy(), np.ones(right.shape, dtype=bool)
        np.put_along_axis(beyond, short, False, axis=1)
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        listed = (np.take_along_axis(of, short, axis=1) for of in (scores, right))
        below = ((scores >= best) & ~right & beyond).sum(axis=1)
        parts.append((short.astype(np.int32), *listed, ranks_of_best_positive(scores, right), below))
    short, contrast, right, ranks, below = map(np.concatenate, zip(*parts, strict=True))
    return short, contrast, right, ranks, below
