"""A search in two steps: the nearest candidates by contrast, then the matching head orders them again.

Whoever searches encodes a gallery once (`xfm.modeling.features`), takes the `shortlist` of a block of
queries, has the pairs on it matched (`match`), and orders them by one of two rules:

- `rerank`: similarity over temperature plus the log-odds of a match. ITM's negatives are drawn in proportion
  to the softmax of the similarities, so that the log-odds say how much likelier a pair is than ITC believes;
  the sum is the logarithm of the corrected probability, up to a constant of the query.
- `matching`: the matching logit alone (column 1, spec: retrieval score), as published.

Below the shortlist the contrastive order stays.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.data.collate import LENGTH_STEP
from xfm.data.shapes import round_up
from xfm.modeling.features import Encoder
from xfm.modeling.precision import autocast

MATCHING_WEIGHT = 1.0
"""Of the log-odds in the sum: also where the true candidates of 500 validation scenes are likeliest, with the
softmax of the sum over the shortlist as their probability; docs/differences.md has the numbers."""
CONTRAST = "contrast alone"
"""The baseline of everything that asks the matching head."""
PICTURE_STEP = 16
"""Pictures of a large pass are rounded up to a multiple: kernels are built per shape."""


class StateReader(Protocol):
    """Encoded pictures or texts by number, such as `xfm.modeling.states.States`."""

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """States [N, T, D] and a mask [N, T] bool of the real ones."""
        ...


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Products of unit vectors, the same numbers whatever rows are multiplied together.

    Computed in float64 and rounded to float32: a product in float32 has other last digits in a block of other
    shape, which would break ties between equal captions by chance.

    Args:
        first: [N, E] float32.
        second: [M, E] float32.

    Returns:
        [N, M] float32.
    """
    return (first.double() @ second.double().T).float()


def shortlist(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best candidates of each query.

    Args:
        scores: [Q, C] contrastive scores.
        count: how many; all candidates if there are fewer.

    Returns:
        Scores and places [Q, K], the best first.
    """
    return scores.topk(min(count, scores.shape[1]), dim=1)


@torch.inference_mode()
def match(
    encoder: Encoder,
    images: StateReader,
    texts: StateReader,
    image_rows: NDArray[np.integer],
    text_rows: NDArray[np.integer],
) -> NDArray[np.float32]:
    """Matching logits of chosen pairs.

    Args:
        encoder: the model.
        images, texts: states.
        image_rows, text_rows: [N] the picture and the text of each pair. Pairs of one picture should stand
            together: a pass turns its few pictures into keys and values once, for many texts. It is as long
            as its longest text, so that texts of about one length should stand together, too.

    Returns:
        [N, 2] float32 (unmatched, matched).
    """
    logits = np.empty((len(image_rows), 2), dtype=np.float32)
    with autocast(encoder.precision, encoder.device):
        for part in encoder.chunks(len(image_rows), 4 * encoder.batch_size, "re-ranking"):
            distinct, place = np.unique(image_rows[part], return_inverse=True)
            fused = encoder.model.fuse_first(
                *_texts(encoder, texts, text_rows[part]),
                _pictures(encoder, images, distinct),
                torch.from_numpy(place).to(encoder.device),
            )
            with encoder.heads():
                logits[part] = encoder.model.match_logits(fused.float()).cpu().numpy()
    return logits


def _texts(encoder: Encoder, texts: StateReader, rows: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
    """States and mask, their length rounded up so that there are few shapes."""
    states, mask = texts.read(rows.astype(np.int64))
    extra = round_up(states.shape[1], LENGTH_STEP) - states.shape[1]
    states, mask = (
        torch.nn.functional.pad(states, (0, 0, 0, extra)),
        torch.nn.functional.pad(mask, (0, extra)),
    )
    return states.to(encoder.device), mask.to(encoder.device)


def _pictures(encoder: Encoder, images: StateReader, rows: NDArray[np.integer]) -> Tensor:
    """States of distinct pictures, and of the last one again where there would be many shapes."""
    extra = -len(rows) % PICTURE_STEP if len(rows) > PICTURE_STEP else 0
    states, _ = images.read(np.pad(rows.astype(np.int64), (0, extra), mode="edge"))
    return states.to(encoder.device)


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
