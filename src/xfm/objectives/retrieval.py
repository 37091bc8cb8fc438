"""Fine-tuned retrieval: images with texts by ITC, with identities as extra positives, and ITM (COCO,
Flickr30k); texts with texts by ranking (InfoNCE, arXiv 1807.03748), with hard negatives as in
sentence-transformers' MultipleNegativesRankingLoss."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.data.schema import Tokens
from xfm.models.composition import Backbone
from xfm.models.fusion import TextBank
from xfm.models.gradients import FINE_TUNING
from xfm.objectives.contrast import multi_positive_loss
from xfm.objectives.fusion_losses import matching_query, run_fusion
from xfm.objectives.global_batch import Gather
from xfm.objectives.losses import LossDict
from xfm.objectives.negatives import Negatives, draw_negatives
from xfm.objectives.text_rows import image_rows, longer, same_identity


def retrieval_losses(
    model: Backbone,
    pixels: Tensor,
    tokens: Tokens,
    identity: Tensor,
    generator: torch.Generator,
    gather: Gather,
    text_identity: Tensor | None = None,
    before: int = 0,
) -> LossDict:
    """ITC and ITM of images [B, 3, H, W] and captions [B, T], nothing detached; negatives come from all
    processes, so that the row-weighted mean of their losses is the global one.

    `identity` [B] int64 is equal for equal images, `text_identity` for equal captions (the published rule
    knows images alone); `generator` is in the same state in all processes, `before` counts the pairs of
    earlier ones.
    """
    text_identity = identity if text_identity is None else text_identity
    model.clamp_temperature()
    image, text = model.encode_image(pixels), model.encode_text(tokens.ids, tokens.mask)
    image_vectors, text_vectors = model.project_image(image[:, 0]), model.project_text(text[:, 0])
    everyone, every_text = gather(identity), gather(text_identity)
    same = same_identity(everyone, every_text)  # [N, N]
    with torch.autocast(text.device.type, enabled=False):  # cosines over a small temperature want float32
        similarity = gather(image_vectors) @ gather(text_vectors).t() / model.temperature
        itc = multi_positive_loss(similarity, same)
    similarity = similarity.detach()
    drawn = draw_negatives(similarity, same, generator)
    own = torch.arange(before, before + len(identity), device=image.device)
    negatives = Negatives(drawn.image[own], drawn.text[own], drawn.valid[own])
    texts = TextBank(text, tokens.mask)
    if len(everyone) > len(own):  # keys and values are made of what is looked at alone
        length = text.new_tensor([text.shape[1]], dtype=torch.int64)
        texts = longer(texts, int(gather(length).max()))
        states, mask, images = gather(texts.states), gather(texts.mask.to(torch.uint8)).bool(), gather(image)
        kept = torch.cat([own, negatives.image, negatives.text]).unique()
        place = own.new_zeros(len(images)).index_copy_(0, kept, torch.arange(len(kept), device=kept.device))
        image, texts = images[kept], TextBank(states[kept], mask[kept])
        everyone, every_text, own = everyone[kept], every_text[kept], place[own]
        negatives = Negatives(place[negatives.image], place[negatives.text], negatives.valid)
    rows = image_rows(image, texts, (everyone, every_text))
    asked = [matching_query(model, rows, negatives, own, drawn.valid)]
    right = same[similarity.argmax(0), torch.arange(len(same), device=same.device)].float().mean()
    return LossDict.merge(
        [LossDict({"itc": itc}, {"itc_accuracy": right}), *run_fusion(model, asked, FINE_TUNING)]
    )


def text_ranking_losses(
    anchors: Tensor,
    candidates: Tensor,
    identities: tuple[Tensor, Tensor],
    temperature: Tensor,
    gather: Gather,
    before: int = 0,
    dimensions: Sequence[int] = (),
) -> LossDict:
    """Loss of anchors [R, E] among candidates [R + N, E] (positives in order, then hard negatives) of all
    processes; the anchor-weighted mean over processes is the global loss.

    `identities` [R] and [R + N] are equal for equal texts; `before` counts candidates of earlier processes.
    With `dimensions` it is the mean of the losses of whole vectors and of vectors cut to each of these sizes,
    so that they may be cut later (Matryoshka, arXiv 2205.13147).
    """
    rows = len(anchors)
    everything, said = gather(candidates), gather(identities[1])
    pairs = gather(identities[0]), gather(identities[1][:rows])
    own = torch.arange(before, before + rows, device=anchors.device)
    # Positives of equal anchors, and the anchor's own text, are no negatives.
    equal = identities[0][:, None] == pairs[0]  # [R, N]
    positive = pairs[1][:, None] == said  # [N, C]
    left_out = ((equal.float() @ positive.float()) > 0) | (identities[0][:, None] == said)
    left_out = left_out.scatter(1, own[:, None], False)
    with torch.autocast(anchors.device.type, enabled=False):  # cosines over a small temperature want float32
        both = (anchors, everything)
        sizes = [both, *([F.normalize(one[:, :size], dim=-1) for one in both] for size in dimensions)]
        cosines = torch.stack([one @ other.t() for one, other in sizes])  # [1 + D, R, C]
        logits = (cosines / temperature).masked_fill(left_out, -torch.inf)
        loss = F.cross_entropy(logits.flatten(0, 1), own.repeat(len(sizes)))
    right = (logits[0].detach().argmax(1) == own).float().mean()
    return LossDict({"ranking": loss}, {"ranking_accuracy": right})
