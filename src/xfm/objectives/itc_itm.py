"""Fine-tuned retrieval: ITC with image identities as extra positives, and ITM (spec: COCO, Flickr30k)."""

import torch
from torch import Tensor

from xfm.data.schema import MaskedTokens, Tokens
from xfm.modeling.composition import Backbone
from xfm.modeling.gradients import FINE_TUNING
from xfm.modeling.queries import ImageBank, TextBank
from xfm.objectives.fused import answer, ask_matching
from xfm.objectives.identity import same_identity
from xfm.objectives.itc import multi_positive_loss
from xfm.objectives.itm import draw_negatives
from xfm.objectives.losses import Named
from xfm.objectives.text_rows import TextRows
from xfm.objectives.vision_text import Gather


def retrieval_losses(
    model: Backbone,
    pixels: Tensor,
    tokens: Tokens,
    identity: Tensor,
    generator: torch.Generator,
    gather: Gather,
    text_identity: Tensor | None = None,
) -> Named:
    """ITC and ITM of pairs; nothing is detached.

    Args:
        model: the model; its temperature is clamped in place.
        pixels: [B, 3, H, W] pictures.
        tokens: [B, T] a caption of each.
        identity: [B] int64, equal for equal pictures: their captions are positives of each other, and never
            negatives.
        generator: draws the hard negatives; on the model's device.
        gather: concatenates a tensor over all processes, with gradient.
        text_identity: [B] int64, equal for equal captions, which are one another's positives too; the
            published rule knows pictures alone.
    """
    text_identity = identity if text_identity is None else text_identity
    model.clamp_temperature()
    image, text = model.encode_image(pixels), model.encode_text(tokens.ids, tokens.mask)
    image_vectors, text_vectors = model.project_image(image[:, 0]), model.project_text(text[:, 0])
    positive = same_identity(gather(identity), gather(text_identity))
    same = same_identity(identity, text_identity)
    with torch.autocast(text.device.type, enabled=False):  # cosines over a small temperature want float32
        similarity = gather(image_vectors) @ gather(text_vectors).t() / model.temperature
        itc = multi_positive_loss(similarity, positive)
        local = (image_vectors.detach() @ text_vectors.detach().t()) / model.temperature.detach()
    negatives = draw_negatives(local, same, generator)
    none = identity.new_empty(len(identity), 0)
    rows = TextRows(
        bank=ImageBank(slots=image[:, :1], patches=image[:, 1:]),
        image=torch.arange(len(image), device=image.device),
        slot=None,
        visible=None,
        tokens=tokens,
        masked=MaskedTokens(tokens.ids, none, none),  # nothing is masked
        texts=TextBank(text, tokens.mask),
        image_identity=identity,
        text_identity=text_identity,
    )
    asked = [ask_matching(model, rows, negatives)]
    right = same[local.argmax(0), torch.arange(len(local), device=local.device)].float().mean()
    return Named.merge([Named({"itc": itc}, {"itc_accuracy": right}), *answer(model, asked, FINE_TUNING)])
