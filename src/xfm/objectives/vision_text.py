"""ITC, ITM, IMLM and BBP on pairs and regions: encoders -> similarities -> hard negatives -> one fusion
call -> reductions. Losses of weight 0 are not computed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.config.training import LossConfig
from xfm.models.composition import Backbone
from xfm.models.gradients import GradientPolicy
from xfm.objectives.contrast import Similarities, compare, gathered, judged_pairs, replayed, vectors_of
from xfm.objectives.cross_rank_negatives import padded_alike, with_borrowed
from xfm.objectives.embeddings import PairEmbeddings
from xfm.objectives.fusion_losses import FusionLoss, box_query, masked_lm_query, matching_query, run_fusion
from xfm.objectives.global_batch import ContrastOutput, GlobalBatch
from xfm.objectives.itm import Block, Negatives, draw_negatives
from xfm.objectives.losses import LossDict
from xfm.objectives.text_rows import TextRows


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
    whole: GlobalBatch,
) -> ContrastOutput:
    """ITC over the global batch, and hard negatives if ITM has a weight; `generator` is in the same state
    in all processes."""
    if source in whole.kept:
        return replayed(vectors, temperature, whole.kept[source])
    everyone = gathered(vectors, source, whole)
    compared = compare(vectors, everyone, whole.own_rows(source).start, temperature)
    factor = whole.loss_scale(f"{source}/rows")
    found = ContrastOutput(compared.loss * factor, compared.right * factor)
    if not weights.itm:
        return found
    blocks = whole.blocks(source, rows.image)
    negatives = drawn(compared, blocks, whole.negatives.min_probability, generator)
    pairs = whole.peers.total(judged_pairs(negatives.valid))
    return ContrastOutput(found.loss, found.right, negatives, pairs)


def drawn(
    compared: Similarities, blocks: Sequence[Block], floor: float, generator: torch.Generator
) -> Negatives:
    """Hard negatives of rows compared with all rows of the batch."""
    return draw_negatives(compared.by_image, compared.same, generator, floor, compared.by_text, blocks)


def vision_text_losses(
    model: Backbone,
    sources: Sequence[Source],
    policy: GradientPolicy,
    weights: LossConfig,
    generator: torch.Generator,
    whole: GlobalBatch,
) -> LossDict:
    """ITC and, by their weights, ITM, IMLM and BBP, named "source/loss"."""
    found: list[LossDict] = []
    asked: list[tuple[str, FusionLoss]] = []
    for source in sources:
        vectors = vectors_of(model, source.rows, policy)
        itc = contrast(source.name, source.rows, vectors, model.temperature, weights, generator, whole)
        found.append(
            LossDict.merge([LossDict({"itc": itc.loss}, {"itc_accuracy": itc.right})], f"{source.name}/")
        )
        asks = questions(model, source, vectors, itc, weights, whole)
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
    whole: GlobalBatch,
) -> Iterator[FusionLoss]:
    """Fusion losses of a source, given its vectors and contrast."""
    name, rows, masked_text = source.name, source.rows, source.masked_text
    negatives, pairs = contrasted.negatives, contrasted.pairs
    if negatives is not None and pairs is not None:
        rows = padded_alike(rows, name, whole)
        rows, matched, negatives = with_borrowed(rows, negatives, name, whole)
        if whole.memory is not None and source.rows.slot is None:  # pairs, not regions
            remember = whole.memory.with_negatives
            matched, negatives = remember(matched, negatives, vectors, model.temperature.detach())
            whole.memory.add(source.rows, vectors)
            rows = replace(rows, bank=matched.bank)  # one bank: its pictures are made keys and values of once
        asks = matching_query(model, matched, negatives, _own(rows))
        valid = judged_pairs(negatives.valid)
        yield asks if whole.is_single else asks.weighed(valid * whole.parts / pairs)
    if masked_text is not None:
        masked_text = F.pad(masked_text, (0, 0, 0, rows.texts.states.shape[1] - masked_text.shape[1]))
        asks = masked_lm_query(model, rows, masked_text)
        yield asks.weighed(whole.loss_scale(f"{name}/tokens_masked"))
    if source.boxes is not None and (weights.box_l1 or weights.box_giou):
        yield box_query(model, rows, *source.boxes).weighed(whole.loss_scale(f"{name}/boxes"))


def _own(rows: TextRows) -> Tensor:
    return torch.arange(len(rows.image), device=rows.image.device)
