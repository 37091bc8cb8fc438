"""ITM: image-text matching with hard negatives (paper section 3.2)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FLOOR = 1e-5
"""Added to every candidate's probability, so that each can be drawn (the published value)."""


@dataclass(frozen=True)
class Negatives:
    """Hard negatives of R rows.

    Attributes:
        image: [R] int64, the row whose picture (or region) is the negative of text r.
        text: [R] int64, the row whose text is the negative of picture (or region) r.
        valid: [R] bool, False where every other row is a duplicate, so that no negative exists.
    """

    image: Tensor
    text: Tensor
    valid: Tensor


def sampling_weights(similarity: Tensor, same: Tensor, floor: float = FLOOR) -> Tensor:
    """Unnormalised probabilities of the negatives of each row.

    Args:
        similarity: [R, R] cosines divided by the temperature; row r holds the candidates of r.
        same: [R, R] bool, pairs that are never drawn.
        floor: added to every candidate's probability; the larger, the easier the negatives.

    Returns:
        [R, R]: softmax(similarity) + floor, zero where `same`.
    """
    return (similarity.softmax(dim=1) + floor).masked_fill(same, 0.0)


@torch.no_grad()
def draw_negatives(
    similarity: Tensor, same: Tensor, generator: torch.Generator, floor: float = FLOOR
) -> Negatives:
    """Draw one negative picture per text and one negative text per picture.

    Args:
        similarity: [R, R] image x text cosines divided by the temperature.
        same: [R, R] bool from `same_identity`.
        generator: random generator of the similarity's device.
        floor: see `sampling_weights`.
    """
    valid = ~same.all(dim=1)
    diagonal = torch.diag(~valid)  # a row without any candidate draws itself and is left out of the loss

    def draw(scores: Tensor) -> Tensor:
        weights = sampling_weights(scores, same, floor) + diagonal
        return torch.multinomial(weights, 1, generator=generator).squeeze(1)

    return Negatives(image=draw(similarity.t()), text=draw(similarity), valid=valid)


def matching_loss(logits: Tensor, valid: Tensor, everyone: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Two-way cross-entropy over matched and unmatched pairs.

    Args:
        logits: [3R, 2]: R matched pairs, R (negative picture, text), R (picture, negative text).
        valid: [R] bool, rows that have negatives.
        everyone: [N] bool, likewise of all rows of a batch of which these are a part.

    Returns:
        The mean over the 3R rows (fewer where negatives do not exist) and the share judged right. Of parts of
        a batch, the mean that is weighed by their rows is that of the whole batch.
    """
    rows = len(valid)
    target = torch.zeros(3 * rows, dtype=torch.int64, device=logits.device)
    target[:rows] = 1
    weight = torch.cat([torch.ones_like(valid), valid, valid]).float()
    pairs = weight.sum()
    if everyone is not None:  # that the rows would have if they were like all rows of the batch
        pairs = (len(everyone) + 2 * everyone.sum()) * (rows / len(everyone))
    loss = (F.cross_entropy(logits, target, reduction="none") * weight).sum() / pairs
    right = ((logits.detach().argmax(-1) == target) * weight).sum() / pairs
    return loss, right
