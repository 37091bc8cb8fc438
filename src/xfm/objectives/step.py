"""One pre-training step: the weighted sum of every objective that the batch allows."""

import torch
from torch import Tensor, nn

from xfm.config.model import MimTarget
from xfm.config.training import LossConfig
from xfm.data.schema import Batch, PairBatch, RegionBatch, Tokens
from xfm.models.composition import Backbone
from xfm.models.gradients import EncoderName, GradientPolicy, Objective
from xfm.models.precision import at_least_float32
from xfm.objectives.contrast import vectors_of
from xfm.objectives.global_batch import GlobalBatch, single
from xfm.objectives.losses import LossDict, Losses, masked_token_loss
from xfm.objectives.text_rows import PairEmbeddings, pair_rows, region_rows
from xfm.objectives.vision_text import Source, vision_text_losses


def mim_loss(
    predicted: Tensor,
    target: Tensor,
    patch_mask: Tensor,
    slot0: bool = True,
    factors: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """MSE of states [B, 1 + P, D] on masked patches [B, P], plus slot 0's at the same weight; the target
    gets no gradient. `factors` scale the two means."""
    error = at_least_float32(predicted - target.detach()).square()
    weight = patch_mask.unsqueeze(-1).to(error.dtype)
    loss = (error[:, 1:] * weight).sum() / (weight.sum() * error.shape[-1]).clamp(min=1)
    loss = loss * factors[0]
    return loss + error[:, 0].mean() * factors[1] if slot0 else loss


def patch_pixels(pixels: Tensor, size: int) -> Tensor:
    """[B, 3, H, W] -> [B, P, 3 * size * size] float32 patches, each of mean 0 and deviation 1."""
    batch, channels, height, width = pixels.shape
    cut = pixels.float().view(batch, channels, height // size, size, width // size, size)
    flat = cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * size * size)
    variance, mean = torch.var_mean(flat, dim=-1, keepdim=True)
    return (flat - mean) / (variance + 1e-6).sqrt()


def pixel_loss(predicted: Tensor, pixels: Tensor, patch_mask: Tensor, size: int) -> Tensor:
    """MSE of [B, P, 3 * size * size] on the normalised pixels of masked patches [B, P] (MAE, arXiv
    2111.06377, section 3): MIM without guidance."""
    error = (predicted.float() - patch_pixels(pixels, size)).square().mean(-1)
    return (error * patch_mask).sum() / patch_mask.sum().clamp(min=1)


NEEDED_BY = {"text": ("mlm",), "image": ("mim",)}
"""The weights of the losses that need a batch's plain texts, and its pictures without texts."""


def is_needed(source: str, weights: LossConfig) -> bool:
    """Whether any loss needs a source of a batch; pairs and regions always have contrast."""
    return source not in NEEDED_BY or any(getattr(weights, name) for name in NEEDED_BY[source])


def pretraining_losses(
    model: Backbone,
    batch: Batch,
    policy: GradientPolicy,
    weights: LossConfig,
    generator: torch.Generator,
    global_batch: GlobalBatch | None = None,
    target: MimTarget = MimTarget.STATES,
    start: nn.Module | None = None,
) -> Losses:
    """All losses of a batch, named "source/loss", as in "pair/itc"; those of weight 0 are not computed (ITC
    always is).

    The mean of losses and gradients over all microbatches of `global_batch` (None: the batch alone) is the
    global one. The temperature is clamped in place; `generator` draws hard negatives, in the same state in
    all processes; `target` is MIM's, `start` the encoder of `MimTarget.INITIAL`.
    """
    model.clamp_temperature()
    global_batch = global_batch or single(batch)
    found: list[LossDict] = []
    images = encode_unmasked(model, batch.pair, batch.region)
    texts = encode_texts(model, batch, policy, weights)
    if batch.text is not None and ("plain", "text") in texts and weights.mlm:
        states = policy.gate(Objective.MLM, EncoderName.LANGUAGE, texts["plain", "text"])
        loss, right = masked_token_loss(states, batch.text.masked, model.language_logits)
        learned = LossDict({"text/mlm": loss}, {"text/mlm_accuracy": right})
        found.append(learned.weighed(global_batch.loss_scale("text/tokens_masked")))
    if weights.mim:
        unmasked = images.get("pair") if start is None else None
        found.append(_mim_losses(model, batch, unmasked, policy, global_batch, target, start))
    sources = sources_of(batch, images, texts)
    found.append(vision_text_losses(model, sources, policy, weights, generator, global_batch))
    named = LossDict.merge(found)
    if not named.losses:
        raise ValueError("the batch holds nothing to learn from")
    weighted = [getattr(weights, name.rpartition("/")[2]) * part for name, part in named.losses.items()]
    metrics = named.metrics | {"temperature": model.temperature.detach().clone()}
    return Losses(torch.stack(weighted).sum(), named.losses, metrics)


@torch.no_grad()
def contrasted_vectors(
    model: Backbone, batch: Batch, policy: GradientPolicy, weights: LossConfig
) -> dict[str, PairEmbeddings]:
    """Vectors of a batch by source, with the random draws of `pretraining_losses`."""
    images = encode_unmasked(model, batch.pair, batch.region)
    texts = encode_texts(model, batch, policy, weights, learning_only=True)
    sources = sources_of(batch, images, texts)
    return {source.name: vectors_of(model, source.rows, policy) for source in sources}


TextStates = dict[tuple[str, str], Tensor]
"""Language states [R, T, Dt] by kind and source: masked `plain` text, `clear` and `masked` captions and
phrases, where they are needed."""


def sources_of(batch: Batch, images: dict[str, Tensor], texts: TextStates) -> list[Source]:
    """Pairs and regions of a batch with their states."""
    sources = []
    if batch.pair is not None:
        rows = pair_rows(batch.pair, images["pair"], texts["clear", "pair"])
        sources.append(Source("pair", rows, texts.get(("masked", "pair"))))
    if batch.region is not None:
        rows = region_rows(batch.region, images["region"], texts["clear", "region"])
        boxed = batch.region.boxed
        boxed = (~batch.region.is_image).nonzero().squeeze(1) if boxed is None else boxed
        boxes = (boxed, batch.region.boxes[boxed])
        sources.append(Source("region", rows, texts.get(("masked", "region")), boxes))
    return sources


def encode_texts(
    model: Backbone, batch: Batch, policy: GradientPolicy, weights: LossConfig, learning_only: bool = False
) -> TextStates:
    """Texts of a step in a pass with gradient and, unless IMLM reaches language, one without, left out
    with `learning_only`."""
    given = {"pair": batch.pair, "region": batch.region}
    captioned = {name: source for name, source in given.items() if source is not None}
    learning = {("clear", name): source.tokens for name, source in captioned.items()}
    if batch.text is not None and is_needed("text", weights):
        learning["plain", "text"] = Tokens(batch.text.masked.ids, batch.text.tokens.mask)
    masked = {
        ("masked", name): Tokens(source.masked.ids, source.tokens.mask)
        for name, source in captioned.items()
        if weights.imlm
    }
    if policy.allows(Objective.IMLM, EncoderName.LANGUAGE):
        learning, masked = learning | masked, {}
    states = _encoded(model, learning)
    if not learning_only:
        with torch.no_grad():
            states |= _encoded(model, masked)
    return states


def _encoded(model: Backbone, texts: dict[tuple[str, str], Tokens]) -> TextStates:
    return dict(zip(texts, model.encode_texts(list(texts.values())), strict=True)) if texts else {}


def encode_unmasked(model: Backbone, pair: PairBatch | None, region: RegionBatch | None) -> dict[str, Tensor]:
    """Unmasked pass of the pairs' and regions' images, together."""
    pixels = {n: b.pixels for n, b in (("pair", pair), ("region", region)) if b is not None}
    if not pixels:
        return {}
    states = model.encode_image(torch.cat(list(pixels.values())))
    return dict(zip(pixels, states.split([len(p) for p in pixels.values()]), strict=True))


def _mim_losses(
    model: Backbone,
    batch: Batch,
    pair_states: Tensor | None,
    policy: GradientPolicy,
    global_batch: GlobalBatch,
    target: MimTarget = MimTarget.STATES,
    start: nn.Module | None = None,
) -> LossDict:
    """MIM of images and masked pairs in one pass. The pairs' target is their unmasked pass; images without
    text, and the encoder of the start, need one more, without gradient."""
    image, pair = batch.image, batch.pair
    masked: dict[str, tuple[Tensor, Tensor]] = {}  # pixels, patch mask
    if image is not None:
        masked["image"] = (image.pixels, image.patch_mask)
    if pair is not None and pair.patch_mask is not None:
        masked["pair"] = (pair.pixels, pair.patch_mask)
    if not masked:
        return LossDict()
    pixels, masks = (torch.cat(parts) for parts in zip(*masked.values(), strict=True))
    predicted = policy.gate(Objective.MIM, EncoderName.VISION, model.encode_image(pixels, masks))
    targets = {} if pair_states is None else {"pair": pair_states}
    if (target is MimTarget.INITIAL) != (start is not None):
        raise ValueError("training.mim_target initial, and no other, needs the encoder of the start")
    if target is MimTarget.PIXELS:
        if model.pixel_head is None:
            raise ValueError("training.mim_target pixels needs model.pixel_head: true")
        predicted = model.pixel_head(predicted[:, 1:])
    else:
        missing = {name: source for name, (source, _) in masked.items() if name not in targets}
        with torch.no_grad():
            targets |= {name: (start or model.encode_image)(source) for name, source in missing.items()}
    losses: dict[str, Tensor] = {}
    parts = predicted.split([len(mask) for _, mask in masked.values()])
    for part, (name, (source, mask)) in zip(parts, masked.items(), strict=True):
        scale = global_batch.loss_scale(f"{name}/patches_masked")
        if target is MimTarget.PIXELS:
            losses[f"{name}/mim"] = pixel_loss(part, source, mask, model.config.vision.patch_size) * scale
        else:
            factors = scale, global_batch.loss_scale(f"{name}/rows")
            losses[f"{name}/mim"] = mim_loss(part, targets[name], mask, factors=factors)
    return LossDict(losses)
