"""The objectives that need pictures and texts together: ITC, ITM, IMLM and BBP on one pair or region batch.

Encoders -> similarities -> hard negatives -> one fusion call on all queries -> reductions. What several
objectives need is computed once; what has no weight is not computed at all.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from xfm.config.training import LossConfig
from xfm.modeling.composition import Backbone
from xfm.modeling.gradients import EncoderName, GradientPolicy, Objective
from xfm.objectives.fused import Asked, answer, ask_boxes, ask_filling, ask_matching
from xfm.objectives.identity import same_identity
from xfm.objectives.itc import contrastive_loss
from xfm.objectives.itm import draw_negatives
from xfm.objectives.losses import Named
from xfm.objectives.text_rows import TextRows

Gather = Callable[[Tensor], Tensor]
"""Concatenates a tensor over all processes, with gradient; the identity on one process."""


def contrast(
    model: Backbone, rows: TextRows, text: Tensor, policy: GradientPolicy, gather: Gather
) -> tuple[Tensor, Tensor, Tensor]:
    """ITC over the global batch.

    Args:
        text: [R, T, Dt] states of the unmasked texts.
        gather: concatenates a tensor over all processes, with gradient.

    Returns:
        The loss, the local [R, R] image x text similarities over temperature (no gradient) and the share of
        texts whose picture is ranked first.
    """
    image_features = model.project_image(policy.gate(Objective.ITC, EncoderName.VISION, rows.slot0))
    text_features = model.project_text(policy.gate(Objective.ITC, EncoderName.LANGUAGE, text)[:, 0])
    same = same_identity(gather(rows.image_identity), gather(rows.text_identity))
    with torch.autocast(text.device.type, enabled=False):  # cosines over a small temperature want float32
        similarity = gather(image_features) @ gather(text_features).t() / model.temperature
        loss = contrastive_loss(similarity, same)
        local = (image_features.detach() @ text_features.detach().t()) / model.temperature.detach()
    right = (local.argmax(0) == torch.arange(len(local), device=local.device)).float().mean()
    return loss, local, right


def vision_text_losses(
    model: Backbone,
    rows: TextRows,
    policy: GradientPolicy,
    weights: LossConfig,
    generator: torch.Generator,
    gather: Gather,
    boxes: tuple[Tensor, Tensor] | None = None,
) -> Named:
    """ITC and, where they have a weight, ITM, IMLM and (given boxes) BBP.

    Args:
        boxes: ([N] int64 rows that have a box, [N, 4] their (cx, cy, w, h)).
    """
    text = model.encode_text(rows.tokens.ids, rows.tokens.mask)
    itc, similarity, right = contrast(model, rows, text, policy, gather)
    found = [Named({"itc": itc}, {"itc_accuracy": right})]
    asked: list[Asked] = []
    if weights.itm:
        same = same_identity(rows.image_identity, rows.text_identity)
        negatives = draw_negatives(similarity, same, generator, weights.negative_floor)
        asked.append(ask_matching(model, rows, text, negatives, policy))
    if weights.imlm:
        asked.append(ask_filling(model, rows, policy))
    if boxes is not None and (weights.box_l1 or weights.box_giou):
        asked.append(ask_boxes(model, rows, text, *boxes, policy))
    if asked:
        found += answer(model, rows, asked, policy)
    return Named.merge(found)
