"""The objectives that need pictures and texts together: ITC, ITM, IMLM and BBP on pairs and regions.

Encoders -> similarities -> hard negatives -> one fusion call on all queries -> reductions. What several
objectives need is computed once; what has no weight is not computed at all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Source:
    """Pairs or regions, encoded.

    Attributes:
        name: before the names of its losses.
        rows: texts with their pictures or regions.
        masked_text: [R, T, Dt] states of the masked texts; None where IMLM has no weight.
        boxes: ([N] int64 rows that have a box, [N, 4] their (cx, cy, w, h)); None without boxes.
    """

    name: str
    rows: TextRows
    masked_text: Tensor | None = None
    boxes: tuple[Tensor, Tensor] | None = None


def contrast(
    model: Backbone, rows: TextRows, policy: GradientPolicy, gather: Gather
) -> tuple[Tensor, Tensor, Tensor]:
    """ITC over the global batch.

    Args:
        rows: texts with their pictures or regions.
        gather: concatenates a tensor over all processes, with gradient.

    Returns:
        The loss, the local [R, R] image x text similarities over temperature (no gradient) and the share of
        texts whose picture is ranked first.
    """
    image_features = model.project_image(policy.gate(Objective.ITC, EncoderName.VISION, rows.slot0))
    states = policy.gate(Objective.ITC, EncoderName.LANGUAGE, rows.texts.states)
    text_features = model.project_text(states[:, 0])
    same = same_identity(gather(rows.image_identity), gather(rows.text_identity))
    with torch.autocast(
        rows.image.device.type, enabled=False
    ):  # cosines over a small temperature want float32
        similarity = gather(image_features) @ gather(text_features).t() / model.temperature
        loss = contrastive_loss(similarity, same)
        local = (image_features.detach() @ text_features.detach().t()) / model.temperature.detach()
    right = (local.argmax(0) == torch.arange(len(local), device=local.device)).float().mean()
    return loss, local, right


def vision_text_losses(
    model: Backbone,
    sources: Sequence[Source],
    policy: GradientPolicy,
    weights: LossConfig,
    generator: torch.Generator,
    gather: Gather,
) -> Named:
    """ITC and, where they have a weight, ITM, IMLM and (given boxes) BBP, named "source/loss"."""
    found: list[Named] = []
    asked: list[tuple[str, Asked]] = []
    for source in sources:
        itc, similarity, right = contrast(model, source.rows, policy, gather)
        found.append(Named.merge([Named({"itc": itc}, {"itc_accuracy": right})], f"{source.name}/"))
        asks = questions(model, source, similarity, weights, generator)
        asked += [(f"{source.name}/", one) for one in asks]
    answers = answer(model, [one for _, one in asked], policy)
    found += [Named.merge([named], prefix) for (prefix, _), named in zip(asked, answers, strict=True)]
    return Named.merge(found)


def questions(
    model: Backbone,
    source: Source,
    similarity: Tensor,
    weights: LossConfig,
    generator: torch.Generator,
) -> Iterator[Asked]:
    """What is asked of the fusion encoder about a source, given its [R, R] image x text similarities."""
    rows = source.rows
    if weights.itm:
        same = same_identity(rows.image_identity, rows.text_identity)
        negatives = draw_negatives(similarity, same, generator, weights.negative_floor)
        yield ask_matching(model, rows, negatives)
    if source.masked_text is not None:
        yield ask_filling(model, rows, source.masked_text)
    if source.boxes is not None and (weights.box_l1 or weights.box_giou):
        yield ask_boxes(model, rows, *source.boxes)
