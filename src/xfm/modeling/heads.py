"""Heads on top of the encoders."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from xfm.config.labels import LabelKind
from xfm.modeling.layers import EPS


def class_probabilities(kind: LabelKind, logits: Tensor) -> Tensor:
    """[R, C] logits -> float32 probabilities: of the classes a row may be of, or of each label alone."""
    logits = logits.float()
    return logits.sigmoid() if kind is LabelKind.SEVERAL else logits.softmax(-1)


class MLPHead(nn.Sequential):
    """Linear(D, 2D), LayerNorm, GELU, Linear(2D, out): matching, boxes and every classification head."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(
            nn.Linear(width, 2 * width),
            nn.LayerNorm(2 * width, eps=EPS),
            nn.GELU(),
            nn.Linear(2 * width, out),
        )


class ProbeHead(nn.Linear):
    """One linear layer on frozen features, in float32 whatever the arithmetic around it.

    It was fitted to standardised features, whose means and deviations stand in its weights: in bfloat16 what
    they cancel would be lost.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[R, F] -> [R, C] float32."""
        if not torch.is_autocast_enabled(input.device.type):  # exporters must see nothing more
            return super().forward(input.to(self.weight.dtype))
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


class DeepHead(nn.Sequential):
    """Four times (Linear, LayerNorm, GELU) of widths 2E, 4E, 2E and E, then Linear(E, out).

    The published head of image classification.
    """

    def __init__(self, width: int, out: int) -> None:
        widths = (width, 2 * width, 4 * width, 2 * width, width)
        stages = [
            part
            for before, after in pairwise(widths)
            for part in (nn.Linear(before, after), nn.LayerNorm(after, eps=EPS), nn.GELU())
        ]
        super().__init__(*stages, nn.Linear(width, out))


class TokenHead(nn.Module):
    """Dense, GELU, LayerNorm, then the product with the word embeddings (shared, not copied) plus a bias."""

    def __init__(self, width: int, words: nn.Embedding, eps: float = EPS) -> None:
        super().__init__()
        self.dense = nn.Linear(width, words.embedding_dim)
        self.norm = nn.LayerNorm(words.embedding_dim, eps=eps)
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings))

    def hidden(self, states: Tensor) -> Tensor:
        """[..., D] states -> [..., D], what is compared with the words."""
        return self.norm(nn.functional.gelu(self.dense(states)))

    def forward(self, states: Tensor, words: nn.Embedding) -> Tensor:
        """[N, D] states and the tied embedding -> [N, V] logits."""
        return nn.functional.linear(self.hidden(states), words.weight, self.bias)
