"""ITC of pairs or regions: a process compares its R rows with the N of the batch, in R x N memory, with
the gradient of the whole N x N matrix."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.models.composition import Backbone
from xfm.models.gradients import EncoderName, GradientPolicy, Objective
from xfm.objectives.global_batch import GlobalBatch
from xfm.objectives.text_rows import PairEmbeddings, TextRows, same_identity


def rows_loss(similarity: Tensor, same: Tensor, own: Tensor) -> Tensor:
    """One direction of the contrast: mean cross-entropy of logits [R, N] against columns `own` [R]; other
    pairs in `same` [R, N] leave the denominators."""
    return F.cross_entropy(similarity.masked_fill(same.scatter(1, own[:, None], False), -torch.inf), own)


def multi_positive_loss(similarity: Tensor, positive: Tensor) -> Tensor:
    """Symmetric cross-entropy of logits [R, R] against uniform targets over `positive` [R, R] (fine-tuned
    retrieval)."""
    target = positive.float()
    by_image = F.cross_entropy(similarity, target / target.sum(1, keepdim=True))
    return (by_image + F.cross_entropy(similarity.t(), target.t() / target.t().sum(1, keepdim=True))) / 2


def vectors_of(model: Backbone, rows: TextRows, policy: GradientPolicy) -> PairEmbeddings:
    """Rows as compared by the contrast, gradients as the policy says."""
    image = model.project_image(policy.gate(Objective.ITC, EncoderName.VISION, rows.slot0))
    states = policy.gate(Objective.ITC, EncoderName.LANGUAGE, rows.texts.states)
    return PairEmbeddings(image, model.project_text(states[:, 0]), rows.image_identity, rows.text_identity)


def gathered(vectors: PairEmbeddings, source: str, global_batch: GlobalBatch) -> PairEmbeddings:
    """Rows of all processes, with the gradient of remote ones."""
    own = torch.stack([vectors.image_identity, vectors.text_identity], dim=1)
    identities = global_batch.gather(source, own)
    image, text = global_batch.gather(source, vectors.image), global_batch.gather(source, vectors.text)
    return PairEmbeddings(image, text, identities[:, 0], identities[:, 1])


@dataclass(frozen=True)
class Similarities:
    """R rows compared with N: mean loss of both directions, share ranked first, and without gradient the
    logits by_image and by_text [R, N] and duplicates same [R, N]."""

    loss: Tensor
    right: Tensor
    by_image: Tensor
    by_text: Tensor
    same: Tensor


def compare(rows: PairEmbeddings, everyone: PairEmbeddings, first: int, temperature: Tensor) -> Similarities:
    """Contrast R rows with all N, in which they begin at `first`."""
    own = torch.arange(first, first + len(rows.image), device=rows.image.device)
    others = (everyone.image_identity, everyone.text_identity)
    same = same_identity(rows.image_identity, rows.text_identity, others)
    with torch.autocast(rows.image.device.type, enabled=False):  # small temperatures want float32
        by_image = rows.image @ everyone.text.t() / temperature
        complete = len(own) == len(everyone.image)
        by_text = by_image.t() if complete else rows.text @ everyone.image.t() / temperature
        loss = (rows_loss(by_image, same, own) + rows_loss(by_text, same, own)) / 2
    by_image, by_text = by_image.detach(), by_text.detach()
    right = (by_text.argmax(1) == own).float().mean()
    return Similarities(loss, right, by_image, by_text, same)


def judged_pairs(valid: Tensor) -> Tensor:
    """Number of pairs judged by ITM for rows of which some have no negatives."""
    return len(valid) + 2 * valid.sum()
