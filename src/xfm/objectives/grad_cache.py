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
from xfm.objectives.global_batch import ContrastOutput, GlobalBatch
from xfm.objectives.negatives import Negatives, draw_negatives
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
    kept = {
        source: _kept(
            source, [one[source] for one in vectors], batches, temperature, weights, generator, global_batches
        )
        for source in vectors[0]
    }
    return [
        replace(global_batch, cached={source: found[n] for source, found in kept.items()})
        for n, global_batch in enumerate(global_batches)
    ]


def _kept(
    source: str,
    vectors: Sequence[PairEmbeddings],
    batches: Sequence[Batch],
    temperature: Tensor,
    weights: LossConfig,
    generator: torch.Generator,
    global_batches: Sequence[GlobalBatch],
) -> list[ContrastOutput]:
    leaves = [
        replace(one, image=one.image.detach().requires_grad_(), text=one.text.detach().requires_grad_())
        for one in vectors
    ]
    places = range(len(leaves))
    parts = [gathered(leaves[n], source, global_batches[n]) for n in places]
    everyone = PairEmbeddings.join(parts)
    starts = [sum(len(part.image) for part in parts[:n]) for n in places]
    compared = [
        compare(leaves[n], everyone, starts[n] + global_batches[n].own_rows(source).start, temperature)
        for n in places
    ]
    factors = [global_batch.loss_scale(f"{source}/rows") for global_batch in global_batches]
    total = torch.stack([compared[n].loss * factors[n] for n in places]).sum()
    wanted = [*(one.image for one in leaves), *(one.text for one in leaves), temperature]
    *gradients, by_temperature = torch.autograd.grad(total, wanted)
    negatives, pairs = list[Negatives](), None
    for n in places if weights.itm else ():
        one, region, global_batch = compared[n], batches[n].region, global_batches[n]
        pictures = torch.arange(len(leaves[n].image), device=temperature.device)
        if source == "region" and region is not None:
            pictures = region.image_index
        own = slice(starts[n], starts[n] + len(parts[n].image))  # the columns of its microbatch
        blocks, floor = global_batch.blocks(source, pictures), global_batch.negatives.min_probability
        by_image, by_text, same = one.by_image[:, own], one.by_text[:, own], one.same[:, own]
        negatives.append(draw_negatives(by_image, same, generator, floor, by_text, blocks))
    if negatives:
        judged = torch.stack([judged_pairs(one.valid) for one in negatives]).sum()
        pairs = global_batches[0].peers.total(judged)
    share = by_temperature / len(places)  # each batch gives its share
    return [
        ContrastOutput(
            compared[n].loss.detach() * factors[n],
            compared[n].right * factors[n],
            negatives[n] if negatives else None,
            pairs,
            (gradients[n], gradients[n + len(places)], share),
        )
        for n in places
    ]
