"""The pre-training step of X-FM on one page (arXiv 2301.05065): one process, one padded batch, plain PyTorch.

A language, a vision and a fusion encoder (section 3.1) learn together from six losses (section 3.2):

    loss  source          predicts                                              its gradient reaches
    MLM   texts           masked tokens, given the text alone                   language
    ITC   pairs, regions  which text and which image of the batch are a pair    language, vision
    ITM   pairs, regions  whether a text and an image are a pair                vision, fusion
    IMLM  pairs, regions  masked tokens, given the text and the unmasked image  vision, fusion
    BBP   regions         the box of what a phrase names, given the image       vision, fusion
    MIM   images, pairs   the unmasked image's states, given the masked image   vision

The last column is the gradient policy (`xfm.models.gradients`) and holds the first idea of the paper: the
losses behind the fusion encoder stop before the language encoder, which is to stay as good as one of
language alone. The second idea is the target of MIM: the states that the same vision encoder gives the
unmasked image. ITC, ITM, IMLM and BBP shape these states, and so guide masked image modelling.

`xfm pretrain` computes the same losses and gradients in `xfm.objectives`: without padding, with one call of
each encoder, for large batches on many processes; `tests/test_method.py` holds both equal. A training step is

    loss = torch.stack([*xfm_losses(model, batch, generator).values()]).sum()  # all weights are 1
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()  # AdamW (section 4.1)

Shapes: R texts, I images, T tokens of a text, P patches of an image, N masked tokens or boxes. Widths: Dt of
the language and fusion encoders, Dv of the vision encoder, E of the contrast; V is the vocabulary's size.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.models.gradients import PRETRAINING, EncoderName, GradientPolicy, Objective

if TYPE_CHECKING:
    from collections.abc import Callable

    from xfm.data.schema import Batch, MaskedTokens, PairBatch, RegionBatch
    from xfm.models.xfm import XFM

LANGUAGE, VISION, FUSION = EncoderName.LANGUAGE, EncoderName.VISION, EncoderName.FUSION


def xfm_losses(
    model: "XFM", batch: "Batch", generator: torch.Generator, policy: GradientPolicy = PRETRAINING
) -> dict[str, Tensor]:
    """The losses of a batch.

    Args:
        model: three encoders, projections and heads; its temperature is clamped in place.
        batch: any of text, image, pair and region batches, whose fields `xfm.data.schema` lists.
        generator: draws the hard negatives.
        policy: which encoders the gradient of each loss reaches.

    Returns:
        Scalars by "source/loss", such as "pair/itc".
    """
    losses: dict[str, Tensor] = {}
    model.clamp_temperature()  # to [0.001, 0.5]
    if batch.pair is not None:
        pair = batch.pair
        image = model.encode_image(pair.pixels)  # [R, 1 + P, Dv]: slot 0 is the mean of the patches behind it
        visible = torch.ones_like(image[:, 1:, 0], dtype=torch.bool)  # [R, P]: a caption is about all patches
        text, masked_text = encode_texts(model, pair, policy)  # [R, T, Dt] each
        found = contrast_and_fusion(model, pair, image, visible, text, masked_text, generator, policy)
        if pair.patch_mask is not None:  # toward the pass that the losses above used, and shape
            found["mim"] = mim_loss(model, pair.pixels, pair.patch_mask, image, policy)
        losses |= {f"pair/{name}": loss for name, loss in found.items()}
    if batch.region is not None:
        region = batch.region
        whole = model.encode_image(region.pixels)[region.image_index]  # [I, 1 + P, Dv] -> [R, 1 + P, Dv]
        image = regions_of(whole, region.visible)  # [R, 1 + P, Dv]
        text, masked_text = encode_texts(model, region, policy)  # [R, T, Dt] each
        found = contrast_and_fusion(
            model, region, image, region.visible, text, masked_text, generator, policy
        )
        if not region.is_image.all():
            found |= box_losses(model, region, whole, text, policy)
        losses |= {f"region/{name}": loss for name, loss in found.items()}
    if batch.text is not None:  # MLM: L = E -log p(token | masked text), by the language encoder alone
        states = model.encode_text(batch.text.masked.ids, batch.text.tokens.mask)  # [R, T, Dt]
        states = policy.gate(Objective.MLM, LANGUAGE, states)
        losses["text/mlm"] = masked_token_loss(states, batch.text.masked, model.language_logits)
    if batch.image is not None:
        with torch.no_grad():
            target = model.encode_image(batch.image.pixels)  # [I, 1 + P, Dv]
        losses["image/mim"] = mim_loss(model, batch.image.pixels, batch.image.patch_mask, target, policy)
    return losses


def regions_of(whole: Tensor, visible: Tensor) -> Tensor:
    """Encoded images [R, 1 + P, Dv] as regions of patches [R, P] show them: slot 0 is the mean of the region.

    The image is encoded once, and the patches around a region have told it about themselves (section 3.1).
    """
    patches, count = whole[:, 1:], visible.sum(1, keepdim=True, dtype=whole.dtype)
    slot0 = (visible / count)[:, None] @ patches  # [R, 1, P] @ [R, P, Dv] -> [R, 1, Dv]
    return torch.cat([slot0, patches], dim=1)


def encode_texts(
    model: "XFM", source: "PairBatch | RegionBatch", policy: GradientPolicy
) -> tuple[Tensor, Tensor]:
    """States [R, T, Dt] of texts, and of their masked copies: without gradient if IMLM stops before them."""
    text = model.encode_text(source.tokens.ids, source.tokens.mask)
    with torch.set_grad_enabled(policy.allows(Objective.IMLM, LANGUAGE)):
        return text, model.encode_text(source.masked.ids, source.tokens.mask)


def contrast_and_fusion(
    model: "XFM",
    source: "PairBatch | RegionBatch",
    image: Tensor,
    visible: Tensor,
    text: Tensor,
    masked_text: Tensor,
    generator: torch.Generator,
    policy: GradientPolicy,
) -> dict[str, Tensor]:
    """ITC, ITM and IMLM of R texts [R, T, Dt] with an image or region [R, 1 + P, Dv] each.

    `visible` [R, P] are the patches that a text may attend to.
    """
    row, mask = torch.arange(len(text), device=text.device), source.tokens.mask  # [R], [R, T]

    # ITC: L = E [-log p(text | image) - log p(image | text)] / 2, with p a softmax of cosine / temperature
    # over the batch. Rows of the same image or text are no negatives; the published code takes them for such.
    image_vector = model.project_image(policy.gate(Objective.ITC, VISION, image[:, 0]))  # [R, E], unit length
    text_vector = model.project_text(policy.gate(Objective.ITC, LANGUAGE, text[:, 0]))  # [R, E], unit length
    scores = image_vector @ text_vector.t() / model.temperature  # [R images, R texts]
    same_image = source.image_identity[:, None] == source.image_identity
    same_text = source.text_identity[:, None] == source.text_identity
    same = same_image | same_text  # [R, R], symmetric, True on the diagonal
    contrast = scores.masked_fill(same & (row[:, None] != row), -torch.inf)
    itc = (F.cross_entropy(contrast, row) + F.cross_entropy(contrast.t(), row)) / 2

    # Hard negatives: an image for each text and a text for each image, likely where ITC finds them near.
    hard_image = draw(scores.t(), same, generator)  # [R]
    hard_text = draw(scores, same, generator)  # [R]
    has_negatives = ~same.all(dim=1)  # [R]

    # ITM: L = E -log p(pair or not | text, image), over R pairs and 2R combinations that are none.
    texts, images = torch.cat([row, row, hard_text]), torch.cat([row, hard_image, row])  # [3R]
    fused = fuse(model, Objective.ITM, policy, text[texts], mask[texts], image[images], visible[images])
    is_pair = torch.arange(3 * len(row), device=row.device) < len(row)  # [3R]
    judged = is_pair | has_negatives.repeat(3)  # [3R]
    itm = F.cross_entropy(model.match_logits(fused)[judged], is_pair[judged].long())  # [3R, 2], of token 0

    # IMLM: L = E -log p(token | masked text, unmasked image).
    fused = fuse(model, Objective.IMLM, policy, masked_text, mask, image, visible)  # [R, T, Dt]
    imlm = masked_token_loss(fused, source.masked, model.fusion_logits)
    return {"itc": itc, "itm": itm, "imlm": imlm}


def fuse(
    model: "XFM",
    objective: Objective,
    policy: GradientPolicy,
    text: Tensor,
    mask: Tensor,
    image: Tensor,
    visible: Tensor,
) -> Tensor:
    """Texts [R, T, Dt] that attend to themselves, and across to their images [R, 1 + P, Dv] -> [R, T, Dt].

    In pre-training the gradient stops at the text: `gate` detaches what the objective is not to reach.
    """
    text = policy.gate(objective, LANGUAGE, text)
    image = policy.gate(objective, VISION, image)
    return policy.gate(objective, FUSION, model.fuse(text, mask, image, visible=visible))


@torch.no_grad()
def draw(scores: Tensor, same: Tensor, generator: torch.Generator) -> Tensor:
    """[R, R] scores -> [R] a column for each row, with probability softmax + 1e-5, but none that is the same.

    A row that is the same as all others draws itself.
    """
    weights = (scores.softmax(dim=1) + 1e-5).masked_fill(same, 0.0)
    weights = weights + torch.diag(same.all(dim=1))
    return torch.multinomial(weights.float(), 1, generator=generator).squeeze(1)


def masked_token_loss(states: Tensor, masked: "MaskedTokens", head: "Callable[[Tensor], Tensor]") -> Tensor:
    """Cross-entropy of the masked tokens of texts with states [R, T, Dt]: the mean, 0 without any."""
    is_label = masked.labels != -100  # [R, M]; rows with fewer than M masked tokens are padded
    row = torch.arange(len(states), device=states.device)[:, None].expand_as(is_label)
    logits = head(states[row[is_label], masked.positions[is_label]])  # [N, Dt] -> [N, V]
    return F.cross_entropy(logits, masked.labels[is_label], reduction="sum") / max(len(logits), 1)


def box_losses(
    model: "XFM", region: "RegionBatch", whole: Tensor, text: Tensor, policy: GradientPolicy
) -> dict[str, Tensor]:
    """BBP: L = E |b - b'|_1 + E [1 - GIoU(b, b')], of phrases [R, T, Dt] with whole images [R, 1 + P, Dv]."""
    boxed, mask = ~region.is_image, region.tokens.mask  # [R]: captions of a whole image have no box
    everything = torch.ones_like(region.visible[boxed])  # [N, P]: the phrase alone says where
    fused = fuse(model, Objective.BBP, policy, text[boxed], mask[boxed], whole[boxed], everything)
    predicted, target = model.boxes(fused), region.boxes[boxed]  # [N, 4]: (cx, cy, w, h) of sides of length 1
    l1 = (predicted - target).abs().sum(-1)  # [N]
    return {"box_l1": l1.mean(), "box_giou": (1 - generalised_iou(predicted, target)).mean()}


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """[N, 4] boxes (cx, cy, w, h) -> [N] IoU less the share of their hull that neither covers."""
    low = torch.stack([first[:, :2] - first[:, 2:] / 2, second[:, :2] - second[:, 2:] / 2])  # [2, N, 2]
    high = torch.stack([first[:, :2] + first[:, 2:] / 2, second[:, :2] + second[:, 2:] / 2])  # [2, N, 2]
    overlap = (high.amin(0) - low.amax(0)).clamp(min=0).prod(-1)  # [N]
    hull = (high.amax(0) - low.amin(0)).prod(-1)
    union = (high - low).prod(-1).sum(0) - overlap
    return overlap / union - (hull - union) / hull


def mim_loss(
    model: "XFM", pixels: Tensor, patch_mask: Tensor, target: Tensor, policy: GradientPolicy
) -> Tensor:
    """MIM: L = MSE over masked patches [I, P] + MSE of slot 0, to the states of the unmasked image.

    The target [I, 1 + P, Dv] is the encoder's own of this step, without gradient: no momentum, no teacher.
    """
    predicted = policy.gate(Objective.MIM, VISION, model.encode_image(pixels, patch_mask))  # [I, 1 + P, Dv]
    error = (predicted - target.detach()).square()
    return error[:, 1:][patch_mask].mean() + error[:, 0].mean()
