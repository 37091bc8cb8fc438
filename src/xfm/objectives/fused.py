"""ITM, IMLM and BBP ask the fusion encoder: each declares its queries and reduces the answers to losses.

All queries of a batch are answered in one fusion call, in which every picture is turned to keys and values
once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.modeling.composition import Backbone
from xfm.modeling.fusion import FusionQuery
from xfm.modeling.gradients import EncoderName, GradientPolicy, Objective
from xfm.objectives.bbox import box_losses
from xfm.objectives.itm import Negatives, matching_loss
from xfm.objectives.losses import Named
from xfm.objectives.text_rows import TextRows
from xfm.objectives.tokens import masked_token_loss


@dataclass(frozen=True)
class Asked:
    """An objective's questions to the fusion encoder.

    Attributes:
        queries: what it asks.
        reduce: makes losses and metrics of the answers, one [Q, T, Dt] tensor a query.
    """

    queries: list["Query"]
    reduce: Callable[[Sequence[Tensor]], Named]


@dataclass(frozen=True)
class Query:
    """A fusion query and the objective that asks it."""

    objective: Objective
    fusion: FusionQuery


def _query(rows: TextRows, objective: Objective, text: Tensor, texts: Tensor, regions: Tensor) -> Query:
    """The query of texts[q] with the region (in a pair batch, the picture) of row regions[q]."""
    slot = None if rows.slot is None else rows.slot.index_select(0, regions)
    visible = None if rows.visible is None else rows.visible.index_select(0, regions)
    image, mask = rows.image.index_select(0, regions), rows.tokens.mask.index_select(0, texts)
    return Query(objective, FusionQuery(text.index_select(0, texts), mask, image, slot, visible))


def _whole_query(rows: TextRows, objective: Objective, text: Tensor, texts: Tensor) -> Query:
    """The query of texts[q] with the whole picture of its own row."""
    image = rows.image.index_select(0, texts)
    slot = None if rows.slot is None else torch.zeros_like(image)
    visible = None if rows.visible is None else torch.ones_like(rows.visible.index_select(0, texts))
    mask = rows.tokens.mask.index_select(0, texts)
    return Query(objective, FusionQuery(text.index_select(0, texts), mask, image, slot, visible))


def fuse_all(model: Backbone, rows: TextRows, queries: list[Query], policy: GradientPolicy) -> list[Tensor]:
    """Answer all queries in one fusion call (two if the policy lets only some of them reach vision).

    Returns:
        [Q, T, Dt] for each query, in their order.
    """
    answers: dict[int, Tensor] = {}
    for reaches_vision in (True, False):
        asked = [
            i
            for i, q in enumerate(queries)
            if policy.allows(q.objective, EncoderName.VISION) is reaches_vision
        ]
        if not asked:
            continue
        parts = [queries[i].fusion for i in asked]
        bank = rows.bank if reaches_vision else rows.bank.detach()
        fused = model.fusion(join(parts), bank).split([len(part.text) for part in parts])
        answers.update(zip(asked, fused, strict=True))
    return [policy.gate(q.objective, EncoderName.FUSION, answers[i]) for i, q in enumerate(queries)]


def join(queries: list[FusionQuery]) -> FusionQuery:
    """Queries on one bank as one query; all or none of them have slots, and likewise visible patches."""

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


def matching_queries(rows: TextRows, text: Tensor, negatives: Negatives) -> list[Query]:
    """ITM's R matched pairs, R (negative picture, text) and R (picture, negative text), in this order."""
    own = torch.arange(len(text), device=text.device)
    return [
        _query(rows, Objective.ITM, text, texts, regions)
        for texts, regions in ((own, own), (own, negatives.image), (negatives.text, own))
    ]


def ask_matching(
    model: Backbone, rows: TextRows, text: Tensor, negatives: Negatives, policy: GradientPolicy
) -> Asked:
    """ITM: three queries per row; `text` are the states of the unmasked texts."""
    queries = matching_queries(rows, policy.gate(Objective.ITM, EncoderName.LANGUAGE, text), negatives)

    def reduce(answers: Sequence[Tensor]) -> Named:
        logits = model.match_logits(torch.cat([answer[:, :1] for answer in answers]))
        loss, right = matching_loss(logits, negatives.valid)
        return Named({"itm": loss}, {"itm_accuracy": right})

    return Asked(queries, reduce)


def ask_filling(model: Backbone, rows: TextRows, policy: GradientPolicy) -> Asked:
    """IMLM: the masked texts with their unmasked pictures or regions."""
    reaches = policy.allows(Objective.IMLM, EncoderName.LANGUAGE)
    with torch.set_grad_enabled(torch.is_grad_enabled() and reaches):
        text = model.encode_text(rows.masked.ids, rows.tokens.mask)
    own = torch.arange(len(text), device=text.device)

    def reduce(answers: Sequence[Tensor]) -> Named:
        loss, right = masked_token_loss(answers[0], rows.masked, model.fusion_logits)
        return Named({"imlm": loss}, {"imlm_accuracy": right})

    return Asked([_query(rows, Objective.IMLM, text, own, own)], reduce)


def ask_boxes(
    model: Backbone, rows: TextRows, text: Tensor, boxed: Tensor, target: Tensor, policy: GradientPolicy
) -> Asked:
    """BBP: the phrases of the rows `boxed` [N] with their whole pictures; `target` [N, 4] (cx, cy, w, h)."""
    query = _whole_query(rows, Objective.BBP, policy.gate(Objective.BBP, EncoderName.LANGUAGE, text), boxed)

    def reduce(answers: Sequence[Tensor]) -> Named:
        l1, giou, iou = box_losses(model.boxes(answers[0]), target)
        return Named({"box_l1": l1, "box_giou": giou}, {"box_iou": iou})

    return Asked([query], reduce)


def answer(model: Backbone, rows: TextRows, asked: Sequence[Asked], policy: GradientPolicy) -> list[Named]:
    """Answer everything that is asked in one fusion call, and reduce."""
    answers = fuse_all(model, rows, [query for one in asked for query in one.queries], policy)
    found, first = [], 0
    for one in asked:
        found.append(one.reduce(answers[first : first + len(one.queries)]))
        first += len(one.queries)
    return found
