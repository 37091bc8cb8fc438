"""ITC of pairs or regions with the whole batch, and what is drawn by it: own rows x all columns, no more.

Each process compares its R rows with the N of the batch, in both directions: memory grows with R x N, and the
gradient is that of the whole N x N matrix.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.models.composition import Backbone
from xfm.models.gradients import EncoderName, GradientPolicy, Objective
from xfm.objectives.embeddings import PairEmbeddings, same_identity
from xfm.objectives.global_batch import CachedContrast, ContrastOutput, GlobalBatch
from xfm.objectives.text_rows import TextRows


def rows_loss(similarity: Tensor, same: Tensor, own: Tensor) -> Tensor:
    """Cross-entropy of some rows against their own columns: one direction of the contrast.

    Args:
        similarity: [R, N] cosines divided by the temperature, of R of the batch's N rows with all N.
        same: [R, N] bool from `same_identity`; pairs that are neither positives nor negatives, but for `own`.
        own: [R] int64, the column that belongs to each row.

    Returns:
        The mean over the R rows.
    """
    return F.cross_entropy(similarity.masked_fill(same.scatter(1, own[:, None], False), -torch.inf), own)


def contrastive_loss(similarity: Tensor, same: Tensor) -> Tensor:
    """Symmetric cross-entropy against the diagonal; duplicates are neither positives nor negatives.

    Args:
        similarity: [R, R] image x text cosines divided by the temperature.
        same: [R, R] bool from `same_identity`; its off-diagonal pairs leave the denominators.

    Returns:
        The mean of both directions. Without duplicates this is the published loss.
    """
    own = torch.arange(len(similarity), device=similarity.device)
    return (rows_loss(similarity, same, own) + rows_loss(similarity.t(), same, own)) / 2


def multi_positive_loss(similarity: Tensor, positive: Tensor) -> Tensor:
    """Symmetric cross-entropy against uniform targets over all positives (fine-tuned retrieval).

    Args:
        similarity: [R, R] image x text cosines divided by the temperature.
        positive: [R, R] bool, True where picture and text belong together; at least one per row and column.
    """
    target = positive.float()
    by_image = F.cross_entropy(similarity, target / target.sum(1, keepdim=True))
    return (by_image + F.cross_entropy(similarity.t(), target.t() / target.t().sum(1, keepdim=True))) / 2


def vectors_of(model: Backbone, rows: TextRows, policy: GradientPolicy) -> PairEmbeddings:
    """Rows as contrast compares them; gradients go where the policy says."""
    image = model.project_image(policy.gate(Objective.ITC, EncoderName.VISION, rows.slot0))
    states = policy.gate(Objective.ITC, EncoderName.LANGUAGE, rows.texts.states)
    return PairEmbeddings(image, model.project_text(states[:, 0]), rows.image_identity, rows.text_identity)


def gathered(vectors: PairEmbeddings, source: str, whole: GlobalBatch) -> PairEmbeddings:
    """The rows of all processes, with the gradient of remote ones."""
    identities = whole.gather(source, torch.stack([vectors.image_identity, vectors.text_identity], dim=1))
    image, text = whole.gather(source, vectors.image), whole.gather(source, vectors.text)
    return PairEmbeddings(image, text, identities[:, 0], identities[:, 1])


@dataclass(frozen=True)
class Similarities:
    """R rows compared with N.

    Attributes:
        loss: the mean of both directions over the R rows.
        right: share of texts whose picture is ranked first, without gradient.
        by_image, by_text: [R, N] cosines over temperature of pictures with all texts, and of texts with all
            pictures, without gradient.
        same: [R, N] bool from `same_identity`.
    """

    loss: Tensor
    right: Tensor
    by_image: Tensor
    by_text: Tensor
    same: Tensor


def compare(rows: PairEmbeddings, everyone: PairEmbeddings, first: int, temperature: Tensor) -> Similarities:
    """Contrast some rows with all.

    Args:
        rows: R of them.
        everyone: N of them.
        first: where the R rows begin in the N.
        temperature: of the contrast.
    """
    own = torch.arange(first, first + len(rows.image), device=rows.image.device)
    same = same_identity(
        rows.image_identity, rows.text_identity, (everyone.image_identity, everyone.text_identity)
    )
    with torch.autocast(rows.image.device.type, enabled=False):  # small temperatures want float32
        by_image = rows.image @ everyone.text.t() / temperature
        whole = len(own) == len(everyone.image)
        by_text = by_image.t() if whole else rows.text @ everyone.image.t() / temperature
        loss = (rows_loss(by_image, same, own) + rows_loss(by_text, same, own)) / 2
    by_image, by_text = by_image.detach(), by_text.detach()
    right = (by_text.argmax(1) == own).float().mean()
    return Similarities(loss, right, by_image, by_text, same)


def judged_pairs(valid: Tensor) -> Tensor:
    """How many pairs ITM judges of rows of which some have no negatives: a scalar."""
    return len(valid) + 2 * valid.sum()


def replayed(vectors: PairEmbeddings, temperature: Tensor, kept: CachedContrast) -> ContrastOutput:
    """The contrast that was computed before, of vectors that are computed again, with gradient this time.

    Its gradient by the vectors is known: the loss is replaced by what has this gradient and the same value.
    """
    products = (vectors.image * kept.image).sum() + (vectors.text * kept.text).sum()
    products = products + (temperature * kept.temperature).sum()
    found = kept.found
    return ContrastOutput(
        found.loss + products - products.detach(), found.right, found.negatives, found.pairs
    )
