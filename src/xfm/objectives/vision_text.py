"""ITC, ITM, IMLM and BBP on pairs and regions: encoders -> similarities -> hard negatives -> one fusion call.

ITM's negatives come from the global batch: states of other processes' rows are exchanged. Losses of weight 0
are not computed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.config.training import LossConfig
from xfm.models.composition import Backbone
from xfm.models.fusion import TextBank
from xfm.models.gradients import GradientPolicy
from xfm.objectives.contrast import compare, gathered, judged_pairs, vectors_of
from xfm.objectives.fusion_losses import FusionLoss, box_query, masked_lm_query, matching_query, run_fusion
from xfm.objectives.global_batch import ContrastOutput, GlobalBatch
from xfm.objectives.losses import LossDict
from xfm.objectives.negatives import Negatives, draw_negatives
from xfm.objectives.text_rows import PairEmbeddings, TextRows, longer, with_others


def _loan_of(
    wanted: Sequence[Sequence[int]], counts: Sequence[int], rank: int, device: torch.device
) -> tuple[Tensor, tuple[list[int], list[int]], Tensor]:
    """Own rows [n] that are sent to others, the numbers sent to and received from each, and the place [N] of
    each row of the batch, own ones first, received ones behind."""
    starts = [sum(counts[:place]) for place in range(len(counts) + 1)]
    held = [range(first, stop) for first, stop in pairwise(starts)]
    own = held[rank]
    foreign = [sorted({row for row in rows if row not in held[one]}) for one, rows in enumerate(wanted)]
    lent = [[row - own.start for row in rows if row in own] for rows in foreign]
    received = [sum(row in one for row in foreign[rank]) for one in held]
    place = torch.zeros(starts[-1], dtype=torch.int64)
    place[own.start : own.stop] = torch.arange(len(own))
    place[foreign[rank]] = torch.arange(len(own), len(own) + len(foreign[rank]))
    sent = torch.tensor([row for rows in lent for row in rows], dtype=torch.int64)
    return sent.to(device), ([len(rows) for rows in lent], received), place.to(device)


def with_borrowed(
    rows: TextRows, negatives: Negatives, source: str, global_batch: GlobalBatch
) -> tuple[TextRows, TextRows, Negatives]:
    """Rows with the images and texts of their negatives, wherever these are: rows with a wider bank of
    images, the same with borrowed images and texts behind them, and the negatives among these."""
    if global_batch.peers.world == 1:
        return rows, rows, negatives
    counts, device = global_batch.of_processes(f"{source}/rows"), rows.image.device
    drawn = global_batch.gather(source, torch.stack([negatives.image, negatives.text], dim=1)).t().tolist()
    shares = [slice(sum(counts[:one]), sum(counts[: one + 1])) for one in range(len(counts))]
    rank, exchange = global_batch.peers.rank, global_batch.peers.exchange
    (seen, of_images, image_place), (read, of_texts, text_place) = (
        _loan_of([of_all[share] for share in shares], counts, rank, device) for of_all in drawn
    )
    moved = Negatives(image_place[negatives.image], text_place[negatives.text], negatives.valid)
    patches = rows.bank.patches.index_select(0, rows.image[seen])
    states = torch.cat([rows.slot0.index_select(0, seen)[:, None], patches], dim=1)  # [n, 1 + P, D]
    others = exchange(states, *of_images)
    visible = None if rows.visible is None else exchange(rows.visible.index_select(0, seen), *of_images)
    said = [exchange(one.index_select(0, read), *of_texts) for one in (rows.texts.states, rows.texts.mask)]
    wider = with_others(rows, others, visible, TextBank(*said))
    return replace(rows, bank=wider.bank), wider, moved


@dataclass(frozen=True)
class Source:
    """Encoded pairs or regions: rows, masked text states [R, T, Dt] (None without IMLM), and boxes ([N]
    int64 rows, [N, 4] (cx, cy, w, h))."""

    name: str
    rows: TextRows
    masked_text: Tensor | None = None
    boxes: tuple[Tensor, Tensor] | None = None


def contrast(
    source: str,
    rows: TextRows,
    vectors: PairEmbeddings,
    temperature: Tensor,
    weights: LossConfig,
    generator: torch.Generator,
    global_batch: GlobalBatch,
) -> ContrastOutput:
    """ITC over the global batch, and hard negatives if ITM has a weight; `generator` is in the same state
    in all processes."""
    if (kept := global_batch.cached.get(source)) is not None:
        # The loss of recomputed vectors keeps its value, and gets the gradient known from the cache.
        assert kept.gradients is not None
        by_image, by_text, by_temperature = kept.gradients
        products = (vectors.image * by_image).sum() + (vectors.text * by_text).sum()
        products = products + (temperature * by_temperature).sum()
        return replace(kept, loss=kept.loss + products - products.detach())
    everyone = gathered(vectors, source, global_batch)
    compared = compare(vectors, everyone, global_batch.own_rows(source).start, temperature)
    factor = global_batch.loss_scale(f"{source}/rows")
    found = ContrastOutput(compared.loss * factor, compared.right * factor)
    if not weights.itm:
        return found
    blocks = global_batch.blocks(source, rows.image)
    floor = global_batch.negatives.min_probability
    negatives = draw_negatives(compared.by_image, compared.same, generator, floor, compared.by_text, blocks)
    pairs = global_batch.peers.total(judged_pairs(negatives.valid))
    return ContrastOutput(found.loss, found.right, negatives, pairs)


def vision_text_losses(
    model: Backbone,
    sources: Sequence[Source],
    policy: GradientPolicy,
    weights: LossConfig,
    generator: torch.Generator,
    global_batch: GlobalBatch,
) -> LossDict:
    """ITC and, by their weights, ITM, IMLM and BBP, named "source/loss"."""
    found: list[LossDict] = []
    asked: list[tuple[str, FusionLoss]] = []
    for source in sources:
        vectors = vectors_of(model, source.rows, policy)
        itc = contrast(source.name, source.rows, vectors, model.temperature, weights, generator, global_batch)
        found.append(LossDict({f"{source.name}/itc": itc.loss}, {f"{source.name}/itc_accuracy": itc.right}))
        asks = questions(model, source, vectors, itc, weights, global_batch)
        asked += [(f"{source.name}/", one) for one in asks]
    answers = run_fusion(model, [one for _, one in asked], policy)
    found += [LossDict.merge([named], prefix) for (prefix, _), named in zip(asked, answers, strict=True)]
    return LossDict.merge(found)


def questions(
    model: Backbone,
    source: Source,
    vectors: PairEmbeddings,
    contrasted: ContrastOutput,
    weights: LossConfig,
    global_batch: GlobalBatch,
) -> Iterator[FusionLoss]:
    """Fusion losses of a source, given its vectors and contrast."""
    name, rows, masked_text = source.name, source.rows, source.masked_text
    negatives, pairs = contrasted.negatives, contrasted.pairs
    if negatives is not None and pairs is not None:
        length = max(global_batch.of_processes(f"{name}/tokens"))  # so that texts can be exchanged
        if length != rows.texts.states.shape[1]:
            rows = replace(rows, texts=longer(rows.texts, length))
        rows, matched, negatives = with_borrowed(rows, negatives, name, global_batch)
        if global_batch.queue is not None and source.rows.slot is None:  # pairs, not regions
            remember = global_batch.queue.with_negatives
            matched, negatives = remember(matched, negatives, vectors, model.temperature.detach())
            global_batch.queue.add(source.rows, vectors)
            rows = replace(rows, bank=matched.bank)  # one bank: its pictures are made keys and values of once
        own = torch.arange(len(rows.image), device=rows.image.device)
        judged, parts = judged_pairs(negatives.valid), global_batch.parts
        factor = 1.0 if parts == 1 else judged * parts / pairs
        yield matching_query(model, matched, negatives, own)._replace(factor=factor)
    if masked_text is not None:
        masked_text = F.pad(masked_text, (0, 0, 0, rows.texts.states.shape[1] - masked_text.shape[1]))
        factor = global_batch.loss_scale(f"{name}/tokens_masked")
        yield masked_lm_query(model, rows, masked_text)._replace(factor=factor)
    if source.boxes is not None and (weights.box_l1 or weights.box_giou):
        factor = global_batch.loss_scale(f"{name}/boxes")
        yield box_query(model, rows, *source.boxes)._replace(factor=factor)
