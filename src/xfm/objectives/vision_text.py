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
        bank: states of the I pictures.
        image: [R] int64, the picture of each row.
        slot: [R] int64, the slot of that picture that stands for the row; None for the whole picture's.
        visible: [R, P] bool, or None where rows see all patches.
        tokens, masked: texts.
        image_identity, text_identity: [R] int64, see `same_identity`.
    """

    bank: ImageBank
    image: Tensor
    slot: Tensor | None
    visible: Tensor | None
    tokens: Tokens
    masked: MaskedTokens
    image_identity: Tensor
    text_identity: Tensor

    @property
    def slot0(self) -> Tensor:
        """[R, Dv] what stands for the picture or region of each row."""
        return self.bank.slots[:, 0] if self.slot is None else self.bank.slots[self.image, self.slot]


def pair_rows(batch: PairBatch, image: Tensor) -> Rows:
    """Rows of a pair batch with its pictures' states [B, 1 + P, Dv]."""
    return Rows(
        bank=ImageBank(slots=image[:, :1], patches=image[:, 1:]),
        image=torch.arange(len(image), device=image.device),
        slot=None,
        visible=None,
        tokens=batch.tokens,
        masked=batch.masked,
        image_identity=batch.image_identity,
        text_identity=batch.text_identity,
    )


def region_rows(batch: RegionBatch, image: Tensor) -> Rows:
    """Rows of a region batch with its pictures' states; a region's slot is the mean of the patches inside it."""
    patches, index = image[:, 1:], batch.image_index
    earlier = (index[:, None] == index).tril(-1)
    slot = 1 + earlier.sum(1)  # rows of a picture take its slots 1, 2, ...
    weights = patches.new_zeros(len(image), 1 + int(slot.max()), patches.shape[1], dtype=torch.float32)
    weights[index, slot] = batch.visible / batch.visible.sum(1, keepdim=True)
    means = weights[:, 1:].to(patches.dtype) @ patches  # [I, S - 1, P] x [I, P, Dv]
    return Rows(
        bank=ImageBank(slots=torch.cat([image[:, :1], means], dim=1), patches=patches),
        image=index,
        slot=slot,
        visible=batch.visible,
        tokens=batch.tokens,
        masked=batch.masked,
        image_identity=batch.image_identity,
        text_identity=batch.text_identity,
    )


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
    image_features = model.project_image(policy.gate(Objective.ITC, Encoder.VISION, rows.slot0))
    text_features = model.project_text(policy.gate(Objective.ITC, Encoder.LANGUAGE, text)[:, 0])
    same = same_identity(gather(rows.image_identity), gather(rows.text_identity))
    with torch.autocast(text.device.type, enabled=False):  # cosines over a small temperature want float32
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


def _query(rows: Rows, objective: Objective, text: Tensor, texts: Tensor, regions: Tensor) -> Query:
    """The query of texts[q] with the region (in a pair batch, the picture) of row regions[q]."""
    slot = None if rows.slot is None else rows.slot.index_select(0, regions)
    visible = None if rows.visible is None else rows.visible.index_select(0, regions)
    return _asked(rows, objective, text, texts, rows.image.index_select(0, regions), slot, visible)


def _whole_query(rows: Rows, objective: Objective, text: Tensor, texts: Tensor) -> Query:
    """The query of texts[q] with the whole picture of its own row."""
    image = rows.image.index_select(0, texts)
    slot = None if rows.slot is None else torch.zeros_like(image)
    visible = None if rows.visible is None else torch.ones_like(rows.visible.index_select(0, texts))
    return _asked(rows, objective, text, texts, image, slot, visible)


def _asked(
    rows: Rows,
    objective: Objective,
    text: Tensor,
    texts: Tensor,
    image: Tensor,
    slot: Tensor | None,
    visible: Tensor | None,
) -> Query:
    mask = rows.tokens.mask.index_select(0, texts)
    return Query(objective, FusionQuery(text.index_select(0, texts), mask, image, slot, visible))


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
        bank = rows.bank if reaches_vision else rows.bank.detach()
        fused = model.fusion(join(parts), bank).split([len(part.text) for part in parts])
        answers.update(zip(asked, fused, strict=True))
    return [policy.gate(q.objective, Encoder.FUSION, answers[i]) for i, q in enumerate(queries)]


def join(queries: list[FusionQuery]) -> FusionQuery:
    """Queries on one bank as one query; either all or none of them have slots, and likewise visible patches."""

    def cat(parts: list[Tensor | None]) -> Tensor | None:
        present = [part for part in parts if part is not None]
        return torch.cat(present) if present else None

    return FusionQuery(
        text=torch.cat([q.text for q in queries]),
        text_mask=torch.cat([q.text_mask for q in queries]),
        image=torch.cat([q.image for q in queries]),
        slot=cat([q.slot for q in queries]),
        visible=cat([q.visible for q in queries]),
    )


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
        located_text = policy.gate(Objective.BBP, Encoder.LANGUAGE, text)
        queries.append(_whole_query(rows, Objective.BBP, located_text, boxes[0]))
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
