"""ITC of pairs or regions: a process compares its R rows with the N of the batch, in R x N memory, with
the gradient of the whole N x N matrix.

More rows than fit in memory are contrasted by GradCache (Gao et al. 2021, arXiv 2101.06983). Microbatches are
encoded without gradient; the loss of all vectors gives its gradient by each; then each microbatch is encoded
again, and its vectors times their known gradient replace the loss (`xfm.objectives.vision_text.contrast`).
Both passes must draw the same random numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.config.training import LossConfig
from xfm.data.schema import Batch
from xfm.models.composition import Backbone
from xfm.models.gradients import EncoderName, GradientPolicy, Objective
from xfm.objectives.global_batch import ContrastOutput, GlobalBatch
from xfm.objectives.negatives import Negatives, draw_negatives
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


def cache_contrast(
    batches: Sequence[Batch],
    vectors: Sequence[Mapping[str, PairEmbeddings]],
    temperature: Tensor,
    weights: LossConfig,
    generator: torch.Generator,
    global_batches: Sequence[GlobalBatch],
) -> list[GlobalBatch]:
    """Global batches with the contrast of the whole step cached; `temperature` is a leaf with gradient,
    `generator` in the same state in all processes."""
    places, kept = range(len(batches)), [dict[str, ContrastOutput]() for _ in batches]
    for source in vectors[0]:
        leaves = [
            replace(one, image=one.image.detach().requires_grad_(), text=one.text.detach().requires_grad_())
            for one in (of_batch[source] for of_batch in vectors)
        ]
        parts = [gathered(leaves[n], source, global_batches[n]) for n in places]
        everyone = PairEmbeddings.join(parts)
        starts = [sum(len(part.image) for part in parts[:n]) for n in places]
        compared = [
            compare(leaves[n], everyone, starts[n] + global_batches[n].own_rows(source).start, temperature)
            for n in places
        ]
        factors = [global_batch.loss_scale(f"{source}/rows") for global_batch in global_batches]
        total = torch.stack([compared[n].loss * factors[n] for n in places]).sum()
        wanted = [*(one.image for one in leaves), *(one.text for one in leaves), temperature]
        *gradients, by_temperature = torch.autograd.grad(total, wanted)
        share = by_temperature / len(places)  # each batch gives its share
        negatives, pairs = list[Negatives](), None
        for n in places if weights.itm else ():
            one, region, global_batch = compared[n], batches[n].region, global_batches[n]
            pictures = torch.arange(len(leaves[n].image), device=temperature.device)
            if source == "region" and region is not None:
                pictures = region.image_index
            own = slice(starts[n], starts[n] + len(parts[n].image))  # the columns of its microbatch
            blocks, floor = global_batch.blocks(source, pictures), global_batch.negatives.min_probability
            by_image, by_text, same = one.by_image[:, own], one.by_text[:, own], one.same[:, own]
            negatives.append(draw_negatives(by_image, same, generator, floor, by_text, blocks))
        if negatives:
            judged = torch.stack([judged_pairs(one.valid) for one in negatives]).sum()
            pairs = global_batches[0].peers.total(judged)
        for n in places:
            loss, right = compared[n].loss.detach() * factors[n], compared[n].right * factors[n]
            known = (gradients[n], gradients[n + len(places)], share)
            drawn = negatives[n] if negatives else None
            kept[n][source] = ContrastOutput(loss, right, drawn, pairs, known)
    return [replace(one, cached=cached) for one, cached in zip(global_batches, kept, strict=True)]
