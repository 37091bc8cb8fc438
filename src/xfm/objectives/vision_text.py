"""The objectives that need pictures and texts together: ITC, ITM, IMLM and BBP on one pair or region batch.

Encoders -> similarities -> hard negatives -> one fusion call on all queries -> reductions. What several
objectives need is computed once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.data.schema import MaskedTokens, PairBatch, RegionBatch, Tokens
from xfm.modeling.fusion import FusionQuery, ImageBank
from xfm.modeling.gradients import Encoder, GradientPolicy, Objective
from xfm.modeling.xfm import XFM
from xfm.objectives.bbox import box_losses
from xfm.objectives.identity import same_identity
from xfm.objectives.itc import contrastive_loss
from xfm.objectives.itm import Negatives, draw_negatives, matching_loss
from xfm.objectives.tokens import masked_token_loss

Gather = Callable[[Tensor], Tensor]
"""Concatenates a tensor over all processes, with gradient; the identity on one process."""


@dataclass(frozen=True)
class Rows:
    """R texts and the pictures, or regions of pictures, that they describe.

    Attributes:
        patches: [I, P, Dv] patch vectors.
        slots: [S, Dv] slot-0 vectors: first those of the I whole pictures, then others.
        image_index, slot_index: [R] int64, picture and slot 0 of each row.
        visible: [R, P] bool, or None where rows see all patches.
        tokens, masked: texts.
        image_identity, text_identity: [R] int64, see `same_identity`.
    """

    patches: Tensor
    slots: Tensor
    image_index: Tensor
    slot_index: Tensor
    visible: Tensor | None
    tokens: Tokens
    masked: MaskedTokens
    image_identity: Tensor
    text_identity: Tensor


def pair_rows(batch: PairBatch, image: Tensor) -> Rows:
    """Rows of a pair batch with its pictures' states [B, 1 + P, Dv]."""
    index = torch.arange(len(image), device=image.device)
    return Rows(
        image[:, 1:], image[:, 0], index, index, None,
        batch.tokens, batch.masked, batch.image_identity, batch.text_identity,
    )  # fmt: skip


def region_rows(batch: RegionBatch, image: Tensor) -> Rows:
    """Rows of a region batch; slot 0 of a row is the mean of the patch vectors inside its region."""
    patches, rows = image[:, 1:], len(batch.image_index)
    inside = torch.zeros(rows, len(image), patches.shape[1], dtype=patches.dtype, device=image.device)
    weight = batch.visible / batch.visible.sum(1, keepdim=True)
    inside[torch.arange(rows, device=image.device), batch.image_index] = weight.to(patches.dtype)
    means = inside.flatten(1) @ patches.flatten(0, 1)  # [R, I * P] x [I * P, Dv]
    slots = torch.cat([image[:, 0], means])
    slot_index = len(image) + torch.arange(rows, device=image.device)
    return Rows(
        patches, slots, batch.image_index, slot_index, batch.visible,
        batch.tokens, batch.masked, batch.image_identity, batch.text_identity,
    )  # fmt: skip


def contrast(
    model: XFM, rows: Rows, text: Tensor, policy: GradientPolicy, gather: Gather
) -> tuple[Tensor, Tensor, Tensor]:
    """ITC over the global batch.

    Args:
        text: [R, T, Dt] states of the unmasked texts.
        gather: concatenates a tensor over all processes, with gradient.

    Returns:
        The loss, the local [R, R] image x text similarities over temperature (no gradient) and the share of
        texts whose picture is ranked first.
    """
    slots = policy.gate(Objective.ITC, Encoder.VISION, rows.slots).index_select(0, rows.slot_index)
    image_features = model.project_image(slots)
    text_features = model.project_text(policy.gate(Objective.ITC, Encoder.LANGUAGE, text)[:, 0])
    same = same_identity(gather(rows.image_identity), gather(rows.text_identity))
    with torch.autocast(slots.device.type, enabled=False):  # cosines over a small temperature want float32
        similarity = gather(image_features) @ gather(text_features).t() / model.temperature
        loss = contrastive_loss(similarity, same)
        local = (image_features.detach() @ text_features.detach().t()) / model.temperature.detach()
    right = (local.argmax(0) == torch.arange(len(local), device=local.device)).float().mean()
    return loss, local, right


@dataclass(frozen=True)
class Query:
    """A fusion query and the objective that asks it."""

    objective: Objective
    fusion: FusionQuery


def _query(rows: Rows, objective: Objective, text: Tensor, texts: Tensor, regions: Tensor | None) -> Query:
    """The query of texts[q] with the region of row regions[q], or with the whole picture of its own row."""
    if regions is None:
        image_index = slot_index = rows.image_index.index_select(0, texts)
        visible = None if rows.visible is None else torch.ones_like(rows.visible.index_select(0, texts))
    else:
        image_index = rows.image_index.index_select(0, regions)
        slot_index = rows.slot_index.index_select(0, regions)
        visible = None if rows.visible is None else rows.visible.index_select(0, regions)
    mask = rows.tokens.mask.index_select(0, texts)
    return Query(objective, FusionQuery(text.index_select(0, texts), mask, image_index, slot_index, visible))


def fuse_all(model: XFM, rows: Rows, queries: list[Query], policy: GradientPolicy) -> list[Tensor]:
    """Answer all queries in one fusion call (two if the policy lets only some of them reach vision).

    Returns:
        [Q, T, Dt] for each query, in their order.
    """
    answers: dict[int, Tensor] = {}
    for reaches_vision in (True, False):
        asked = [
            i for i, q in enumerate(queries) if policy.allows(q.objective, Encoder.VISION) is reaches_vision
        ]
        if not asked:
            continue
        parts = [queries[i].fusion for i in asked]
        visible = None if rows.visible is None else torch.cat([_present(p.visible) for p in parts])
        joined = FusionQuery(
            torch.cat([p.text for p in parts]),
            torch.cat([p.text_mask for p in parts]),
            torch.cat([p.image_index for p in parts]),
            torch.cat([p.slot_index for p in parts]),
            visible,
        )
        bank = ImageBank(rows.patches, rows.slots)
        if not reaches_vision:
            bank = ImageBank(bank.patches.detach(), bank.slots.detach())
        fused = model.fusion(joined, bank).split([len(p.text) for p in parts])
        answers.update(zip(asked, fused, strict=True))
    return [policy.gate(q.objective, Encoder.FUSION, answers[i]) for i, q in enumerate(queries)]


def _present(visible: Tensor | None) -> Tensor:
    assert visible is not None
    return visible


def matching_queries(rows: Rows, text: Tensor, negatives: Negatives) -> list[Query]:
    """ITM's R matched pairs, R (negative picture, text) and R (picture, negative text), in this order."""
    own = torch.arange(len(text), device=text.device)
    return [
        _query(rows, Objective.ITM, text, texts, regions)
        for texts, regions in ((own, own), (own, negatives.image), (negatives.text, own))
    ]


def vision_text_losses(
    model: XFM,
    rows: Rows,
    policy: GradientPolicy,
    generator: torch.Generator,
    gather: Gather,
    boxes: tuple[Tensor, Tensor] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """ITC, ITM, IMLM and, given boxes, BBP.

    Args:
        boxes: ([N] int64 rows that have a box, [N, 4] their (cx, cy, w, h)).

    Returns:
        Losses and metrics by name.
    """
    text = model.encode_text(rows.tokens.ids, rows.tokens.mask)
    itc, similarity, itc_right = contrast(model, rows, text, policy, gather)
    same = same_identity(rows.image_identity, rows.text_identity)
    negatives = draw_negatives(similarity, same, generator)

    with torch.set_grad_enabled(torch.is_grad_enabled() and policy.allows(Objective.IMLM, Encoder.LANGUAGE)):
        masked_text = model.encode_text(rows.masked.ids, rows.tokens.mask)
    own = torch.arange(len(text), device=text.device)
    queries = matching_queries(rows, policy.gate(Objective.ITM, Encoder.LANGUAGE, text), negatives)
    queries.append(_query(rows, Objective.IMLM, masked_text, own, own))
    if boxes is not None:
        queries.append(
            _query(rows, Objective.BBP, policy.gate(Objective.BBP, Encoder.LANGUAGE, text), boxes[0], None)
        )
    matched, wrong_image, wrong_text, filled, *located = fuse_all(model, rows, queries, policy)

    logits = model.match_logits(torch.cat([matched[:, :1], wrong_image[:, :1], wrong_text[:, :1]]))
    itm, itm_right = matching_loss(logits, negatives.valid)
    imlm, imlm_right = masked_token_loss(filled, rows.masked, model.fusion_logits)
    losses = {"itc": itc, "itm": itm, "imlm": imlm}
    metrics = {"itc_accuracy": itc_right, "itm_accuracy": itm_right, "imlm_accuracy": imlm_right}
    if boxes is not None:
        losses["box_l1"], losses["box_giou"], metrics["box_iou"] = box_losses(
            model.boxes(located[0]), boxes[1]
        )
    return losses, metrics
