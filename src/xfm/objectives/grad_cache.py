"""Contrast of more rows than fit in memory, by GradCache (Gao et al. 2021, arXiv 2101.06983).

Microbatches are encoded without gradient; the loss of all vectors gives its gradient by each; then each
microbatch is encoded again, and its vectors times their known gradient replace the loss
(`xfm.objectives.vision_text.contrast`). Both passes must draw the same random numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from xfm.config.training import LossConfig
from xfm.data.schema import Batch
from xfm.models.composition import Backbone
from xfm.models.gradients import GradientPolicy
from xfm.objectives.contrast import compare, gathered, judged_pairs, vectors_of
from xfm.objectives.global_batch import CachedContrast, ContrastOutput, GlobalBatch
from xfm.objectives.itm import Negatives, draw_negatives
from xfm.objectives.step import encode_texts, encode_unmasked, sources_of
from xfm.objectives.text_rows import PairEmbeddings


@torch.no_grad()
def contrasted_vectors(
    model: Backbone, batch: Batch, policy: GradientPolicy, weights: LossConfig
) -> dict[str, PairEmbeddings]:
    """Vectors of a batch by source, with the random draws of `pretraining_losses`."""
    images = encode_unmasked(model, batch.pair, batch.region)
    texts = encode_texts(model, batch, policy, weights, learning_only=True)
    return {
        source.name: vectors_of(model, source.rows, policy) for source in sources_of(batch, images, texts)
    }


def cache_contrast(
    batches: Sequence[Batch],
    vectors: Sequence[Mapping[str, PairEmbeddings]],
    temperature: Tensor,
    weights: LossConfig,
    generator: torch.Generator,
    global_batches: Sequence[GlobalBatch],
) -> list[GlobalBatch]:
    """Global batches with the contrast of the whole step cached; `temperature` is a leaf with gradient,
    `generator` in the same state in all processes."""
    found: list[dict[str, CachedContrast]] = [{} for _ in batches]
    for source in vectors[0]:
        pictures = [_pictures(batch, source) for batch in batches]
        own = [one[source] for one in vectors]
        kept = _kept(source, own, pictures, temperature, weights, generator, global_batches)
        for place, one in enumerate(kept):
            found[place][source] = one
    return [
        replace(global_batch, cached=kept) for global_batch, kept in zip(global_batches, found, strict=True)
    ]


def _kept(
    source: str,
    vectors: Sequence[PairEmbeddings],
    pictures: Sequence[Tensor],
    temperature: Tensor,
    weights: LossConfig,
    generator: torch.Generator,
    global_batches: Sequence[GlobalBatch],
) -> list[CachedContrast]:
    leaves = [
        replace(one, image=one.image.detach().requires_grad_(), text=one.text.detach().requires_grad_())
        for one in vectors
    ]
    parts = [
        gathered(one, source, global_batch) for one, global_batch in zip(leaves, global_batches, strict=True)
    ]
    everyone = PairEmbeddings.join(parts)
    starts = [sum(len(part.image) for part in parts[:place]) for place in range(len(parts))]
    compared = [
        compare(one, everyone, start + global_batch.own_rows(source).start, temperature)
        for one, start, global_batch in zip(leaves, starts, global_batches, strict=True)
    ]
    factors = [global_batch.loss_scale(f"{source}/rows") for global_batch in global_batches]
    total = torch.stack([one.loss * factor for one, factor in zip(compared, factors, strict=True)]).sum()
    wanted = [*(one.image for one in leaves), *(one.text for one in leaves), temperature]
    *gradients, by_temperature = torch.autograd.grad(total, wanted)
    negatives: list[Negatives | None] = [None] * len(global_batches)
    pairs = None
    if weights.itm:
        negatives = []
        for one, start, part, global_batch, of_rows in zip(
            compared, starts, parts, global_batches, pictures, strict=True
        ):
            own = slice(start, start + len(part.image))  # the columns of its microbatch
            blocks, floor = global_batch.blocks(source, of_rows), global_batch.negatives.min_probability
            by_image, by_text, same = one.by_image[:, own], one.by_text[:, own], one.same[:, own]
            negatives.append(draw_negatives(by_image, same, generator, floor, by_text, blocks))
        judged = [judged_pairs(one.valid) for one in negatives if one is not None]
        pairs = global_batches[0].peers.total(torch.stack(judged).sum())
    return [
        CachedContrast(
            ContrastOutput(one.loss.detach() * factor, one.right * factor, drew, pairs),
            by_image,
            by_text,
            by_temperature / len(global_batches),  # each batch gives its share
        )
        for one, factor, drew, by_image, by_text in zip(
            compared,
            factors,
            negatives,
            gradients[: len(global_batches)],
            gradients[len(global_batches) :],
            strict=True,
        )
    ]


def _pictures(batch: Batch, source: str) -> Tensor:
    if source == "region":
        assert batch.region is not None
        return batch.region.image_index
    assert batch.pair is not None
    return torch.arange(len(batch.pair.pixels), device=batch.pair.pixels.device)
