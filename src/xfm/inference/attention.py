"""Grad-CAM on the fusion encoder's cross-attention, for every word and for the whole text.

Attention weights from tokens to patches, times the positive gradient of the matching logit, averaged over
heads (Selvaraju et al., arXiv 1610.02391; on cross-attention first in ALBEF, arXiv 2107.07651).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xfm.core.errors import UserError
from xfm.data.schema import Tokens
from xfm.inference.drawing import draw_heat
from xfm.inference.input_parsing import ImageReader
from xfm.models.artifacts import model_pixels
from xfm.models.attention import join_heads, split_heads
from xfm.models.attention_layout import padded
from xfm.models.folder import Pretrained
from xfm.models.fusion import FusionLayer
from xfm.models.runtimes.loading import RuntimeModel
from xfm.models.xfm import XFM


@dataclass(frozen=True)
class AttentionMaps:
    """Attention maps of a picture: of its W `words` [W, rows, columns] float32, not negative, each the mean
    over its tokens; `whole` [rows, columns], the mean over all tokens; `match`, the probability of a match.
    In the last layer the words' maps are zero: only the first token, which stands for the text, is read after
    it."""

    words: tuple[str, ...]
    maps: NDArray[np.float32]
    whole: NDArray[np.float32]
    match: float
    picture: object

    def draw(self, word: int | None = None) -> Image.Image:
        """The picture under the map of the whole text, or of a word by its place from 0."""
        return draw_heat(self.picture, self.whole if word is None else self.maps[word])


def attention_maps(
    pretrained: Pretrained, picture: object, text: str, layer: int | None = None
) -> AttentionMaps:
    """Grad-CAM of the matching logit for a text on a picture, as pipelines take pictures. The matching head
    must be trained: a pre-trained model, or one fine-tuned for retrieval. `layer` of the fusion encoder
    counts from 0; see `default_layer`. UserError: an unreadable picture, an empty text, no such layer."""
    shown = ImageReader(pretrained.preprocessing, None).read(picture)
    model, tokenizer = pretrained.model, pretrained.tokenizer
    if isinstance(model, RuntimeModel):
        raise UserError("maps of attention need gradients: take the model folder, not an exported model")
    read = tokenizer.as_caption(text)
    if not read:
        raise UserError("the text holds no words; give a caption or a phrase")
    depth = len(model.fusion.layers)
    chosen = default_layer(depth) if layer is None else layer
    if not 0 <= chosen < depth:
        raise UserError(f"layer is {layer}, but the fusion encoder has the layers 0 to {depth - 1}")
    device = model.device
    pixels = model_pixels(shown.pixels[None], pretrained.preprocessing).to(device)
    longest = model.fusion.embeddings.positions.num_embeddings - 2
    found, logits = grad_cam(model, pixels, tokenizer.encode_batch([read], longest).to(device), chosen)
    heat, grid = found[0].cpu(), model.config.vision.grid  # [T, P]
    ((ids, numbers),) = tokenizer.encode_lists([read], longest)
    words: dict[int, list[int]] = {}
    for place, number in enumerate(numbers):
        if number is not None:
            words.setdefault(number, []).append(place)
    names = tuple(tokenizer.decode([ids[place] for place in places]).strip() for places in words.values())
    maps = torch.stack([heat[places].mean(0) for places in words.values()]).view(len(words), *grid)
    whole, match = heat.mean(0).view(grid), pretrained.match_probability(logits)[0].item()
    return AttentionMaps(names, maps.numpy(), whole.numpy(), match, picture)


def default_layer(depth: int) -> int:
    """The middle layer."""
    return depth // 2


def grad_cam(model: XFM, pixels: Tensor, tokens: Tokens, layer: int) -> tuple[Tensor, Tensor]:
    """Maps of every token, [R, T, P] float32 over the patches, and [R, 2] matching logits. `pixels` [R, 3, H,
    W] and `tokens` [R, T] go row by row; the model is in evaluation mode and does not change."""
    with torch.no_grad():
        image, text = model.encode_image(pixels), model.encode_text(tokens.ids, tokens.mask)
    with torch.enable_grad():
        fused, weights = _fuse_watching(model, text, tokens.mask, image, layer)
        logits = model.match_logits(fused)
        (gradient,) = torch.autograd.grad(logits[:, 1].sum(), weights)  # rows do not touch one another
    cam = (weights * gradient.clamp(min=0)).mean(dim=1)  # [R, T, 1 + P]
    return cam[..., 1:].detach().float(), logits.detach()


def _fuse_watching(
    model: XFM, text: Tensor, mask: Tensor, image: Tensor, watched: int
) -> tuple[Tensor, Tensor]:
    """`XFM.fuse` of text r with picture r, and the attention weights [R, H, T, 1 + P] of one layer. Written
    out, because the fused kernels keep no weights; a test compares the two."""
    states, texts = model.fusion.place(text), padded(mask)
    weights: Tensor | None = None
    layers = [layer for layer in model.fusion.layers if isinstance(layer, FusionLayer)]
    for place, layer in enumerate(layers):
        states, part = layer.attention(states, texts), layer.cross_attention
        key, value = (split_heads(t, part.heads) for t in part.key_value(image).chunk(2, dim=-1))
        query = split_heads(part.query(states), part.heads)
        found = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)  # [R, H, T, 1 + P]
        if place == watched:
            weights = found = found.detach().requires_grad_()
        states = layer.feed_forward(part.norm(states + part.out(join_heads(found @ value))))
    assert weights is not None
    return states, weights
