"""ITM, IMLM and BBP as queries to the fusion encoder and reductions of its answers.

One fusion call answers all queries of a step; each image becomes keys and values once, and only tokens that
are read come back.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.data.transforms import Boxes, BoxFormat, BoxUnit
from xfm.models.composition import Backbone
from xfm.models.fusion import FusionQuery, ImageBank, TextBank
from xfm.models.gradients import EncoderName, GradientPolicy, Objective
from xfm.objectives.losses import LossDict, masked_token_loss
from xfm.objectives.negatives import Negatives
from xfm.objectives.text_rows import TextRows


def corners(boxes: Tensor) -> Tensor:
    """[..., 4] (cx, cy, w, h) fractions -> [..., 4] (left, top, right, bottom) fractions."""
    flat = Boxes(boxes.reshape(-1, 4), BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY)
    return flat.data.view_as(boxes)


def generalised_iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU in [0, 1] and generalised IoU in [-1, 1] of broadcastable boxes [..., 4] (cx, cy, w, h), finite
    for empty boxes."""
    pair = torch.broadcast_tensors(corners(first), corners(second))
    (a_low, a_high), (b_low, b_high) = (boxes.split(2, dim=-1) for boxes in pair)

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(-1)

    overlap = area(torch.maximum(a_low, b_low), torch.minimum(a_high, b_high))
    hull = area(torch.minimum(a_low, b_low), torch.maximum(a_high, b_high))
    union = area(a_low, a_high) + area(b_low, b_high) - overlap
    tiny = torch.finfo(union.dtype).tiny
    iou = overlap / union.clamp(min=tiny)
    return iou, iou - (hull - union) / hull.clamp(min=tiny)


@torch.no_grad()
def nearest_boxes(predicted: Tensor, targets: Tensor) -> Tensor:
    """[N, 4] of each phrase's right boxes [N, M, 4] the one of least loss to the prediction [N, 4], as
    DETR's matching (arXiv 2005.12872): a drawn target would teach the middle of the boxes."""
    if targets.shape[1] == 1:
        return targets[:, 0]
    apart = (predicted[:, None] - targets).abs().sum(-1)  # [N, M]
    cost = apart + 1 - generalised_iou(predicted[:, None], targets)[1]
    return targets[torch.arange(len(targets), device=targets.device), cost.argmin(1)]


def box_losses(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L1 and 1 - GIoU of boxes [N, 4] (cx, cy, w, h), means over the rows (0 without any), and the mean
    IoU without gradient."""
    count = max(len(target), 1)
    iou, giou = generalised_iou(predicted, target)
    return (predicted - target).abs().sum() / count, (1 - giou).sum() / count, iou.detach().sum() / count


Query = tuple[Objective, FusionQuery]
"""A fusion query and the objective that asks it."""


class FusionLoss(NamedTuple):
    """Queries of an objective, `reduce` from their answers [Q, m, Dt] to losses and metrics, and a factor of
    these."""

    queries: list[Query]
    reduce: Callable[[Sequence[Tensor]], LossDict]
    factor: Tensor | float = 1.0


def _query(
    rows: TextRows, objective: Objective, bank: TextBank, texts: Tensor, regions: Tensor, read: Tensor
) -> Query:
    slot = None if rows.slot is None else rows.slot.index_select(0, regions)
    visible = None if rows.visible is None else rows.visible.index_select(0, regions)
    image = rows.image.index_select(0, regions)
    return objective, FusionQuery(bank, rows.bank, texts, image, slot, visible, read)


def fuse_all(model: Backbone, queries: Sequence[Query], policy: GradientPolicy) -> list[Tensor]:
    """Answers [Q, m, Dt] of all queries, whatever their banks, in one fusion call, gradients as the policy
    says."""
    # Queries share a bank by identity: each has one copy without its gradient.
    said = {id(query.texts): query.texts for _, query in queries}
    shown = {id(query.images): query.images for _, query in queries}
    texts = {key: TextBank(bank.states.detach(), bank.mask) for key, bank in said.items()}
    images = {key: ImageBank(bank.slots.detach(), bank.patches.detach()) for key, bank in shown.items()}
    gated = []
    for objective, query in queries:
        reached = policy.reaches[objective]
        bank = query.texts if EncoderName.LANGUAGE in reached else texts[id(query.texts)]
        pictures = query.images if EncoderName.VISION in reached else images[id(query.images)]
        gated.append(replace(query, texts=bank, images=pictures))
    answers = zip(queries, model.fusion(gated), strict=True)
    return [policy.gate(objective, EncoderName.FUSION, answer) for (objective, _), answer in answers]


def matching_queries(rows: TextRows, negatives: Negatives, own: Tensor | None = None) -> list[Query]:
    """ITM's Q matched pairs, Q (negative image, text), Q (image, negative text), of rows `own` [Q]
    (default: all)."""
    if own is None:
        own = torch.arange(len(rows.image), device=rows.image.device)
    return [
        _query(rows, Objective.ITM, rows.texts, texts, regions, torch.zeros_like(texts)[:, None])
        for texts, regions in ((own, own), (own, negatives.image), (negatives.text, own))
    ]


def matching_loss(logits: Tensor, valid: Tensor, everyone: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean two-way cross-entropy of logits [3R, 2] (matched, negative image, negative text) over rows with
    negatives `valid` [R], and the accuracy; with `everyone` [N] scaled so that row-weighted means of parts
    are the global mean."""
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


def matching_query(
    model: Backbone,
    rows: TextRows,
    negatives: Negatives,
    own: Tensor | None = None,
    everyone: Tensor | None = None,
) -> FusionLoss:
    """ITM: three queries per row; `own` as of `matching_queries`, `everyone` as of `matching_loss`."""
    queries = matching_queries(rows, negatives, own)

    def reduce(answers: Sequence[Tensor]) -> LossDict:
        logits = model.match_logits(torch.cat(list(answers)))
        loss, right = matching_loss(logits, negatives.valid, everyone)
        return LossDict({"itm": loss}, {"itm_accuracy": right})

    return FusionLoss(queries, reduce)


def masked_lm_query(model: Backbone, rows: TextRows, masked_text: Tensor) -> FusionLoss:
    """IMLM: masked texts [R, T, Dt] with their unmasked images or regions."""
    assert rows.masked is not None
    positions, bank = rows.masked.positions, TextBank(masked_text, rows.texts.mask)
    own = torch.arange(len(positions), device=positions.device)
    # The answers are those at the masked positions, one after the other.
    slots = torch.arange(positions.shape[1], device=positions.device).expand_as(positions)
    masked = replace(rows.masked, positions=slots)

    def reduce(answers: Sequence[Tensor]) -> LossDict:
        loss, right = masked_token_loss(answers[0], masked, model.fusion_logits)
        return LossDict({"imlm": loss}, {"imlm_accuracy": right})

    return FusionLoss([_query(rows, Objective.IMLM, bank, own, own, positions)], reduce)


def box_query(model: Backbone, rows: TextRows, boxed: Tensor, target: Tensor) -> FusionLoss:
    """BBP: the phrases of the rows `boxed` [N] with their whole pictures; `target` [N, 4] (cx, cy, w, h)."""
    image = rows.image.index_select(0, boxed)
    slot = None if rows.slot is None else torch.zeros_like(image)
    visible = None if rows.visible is None else torch.ones_like(rows.visible.index_select(0, boxed))
    query = FusionQuery(rows.texts, rows.bank, boxed, image, slot, visible, torch.zeros_like(boxed)[:, None])

    def reduce(answers: Sequence[Tensor]) -> LossDict:
        l1, giou, iou = box_losses(model.boxes(answers[0]), target)
        return LossDict({"box_l1": l1, "box_giou": giou}, {"box_iou": iou})

    return FusionLoss([(Objective.BBP, query)], reduce)


def run_fusion(model: Backbone, asked: Sequence[FusionLoss], policy: GradientPolicy) -> list[LossDict]:
    """Losses of all queries, by one fusion call."""
    if not asked:
        return []
    answers = iter(fuse_all(model, [query for one in asked for query in one.queries], policy))
    return [one.reduce([next(answers) for _ in one.queries]).weighed(one.factor) for one in asked]
