"""Heads on top of the encoders, and their inputs."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from xfm.config.labels import LabelKind
from xfm.data.schema import Tokens
from xfm.models.layers import EPS


def class_probabilities(kind: LabelKind, logits: Tensor) -> Tensor:
    """[R, C] logits -> float32 probabilities: softmax, or sigmoid for several labels."""
    logits = logits.float()
    return logits.sigmoid() if kind is LabelKind.SEVERAL else logits.softmax(-1)


def mlp_head(width: int, out: int) -> nn.Sequential:
    """Linear(D, 2D), LayerNorm, GELU, Linear(2D, out): matching, boxes and every classification head."""
    hidden = 2 * width
    return nn.Sequential(
        nn.Linear(width, hidden), nn.LayerNorm(hidden, eps=EPS), nn.GELU(), nn.Linear(hidden, out)
    )


class ProbeHead(nn.Linear):
    """One linear layer on frozen features, always in float32: means and deviations of standardised
    features stand in its weights and would be lost in bfloat16."""

    def forward(self, input: Tensor) -> Tensor:
        """[R, F] -> [R, C] float32."""
        if not torch.is_autocast_enabled(input.device.type):  # exporters must see nothing more
            return super().forward(input.to(self.weight.dtype))
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


def deep_head(width: int, out: int) -> nn.Sequential:
    """The published head of image classification: (Linear, LayerNorm, GELU) to 2E, 4E, 2E and E, then
    Linear(E, out)."""
    stages: list[nn.Module] = []
    for before, after in pairwise((width, 2 * width, 4 * width, 2 * width, width)):
        stages += [nn.Linear(before, after), nn.LayerNorm(after, eps=EPS), nn.GELU()]
    return nn.Sequential(*stages, nn.Linear(width, out))


class TokenHead(nn.Module):
    """Dense, GELU, LayerNorm, then the product with the word embeddings (shared, not copied) plus a bias."""

    def __init__(self, width: int, words: nn.Embedding, eps: float = EPS) -> None:
        super().__init__()
        self.dense = nn.Linear(width, words.embedding_dim)
        self.norm = nn.LayerNorm(words.embedding_dim, eps=eps)
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings))

    def hidden(self, states: Tensor) -> Tensor:
        """[..., D] states -> [..., D] before the product with the words."""
        return self.norm(nn.functional.gelu(self.dense(states)))

    def forward(self, states: Tensor, words: nn.Embedding) -> Tensor:
        """[N, D] states and the tied embedding -> [N, V] logits."""
        return nn.functional.linear(self.hidden(states), words.weight, self.bias)


@dataclass(frozen=True)
class HeadInputs:
    """Inputs of a head: text tokens [R, T] (a pair is one sequence), distinct images [I, 1 + P, Dv] and
    the K images [R, K] int64 of each row (None: image r)."""

    tokens: Tokens | None = None
    image: Tensor | None = None
    index: Tensor | None = None

    @property
    def text(self) -> Tokens:
        """The texts."""
        assert self.tokens is not None
        return self.tokens

    @property
    def pictures(self) -> Tensor:
        """The encoded images."""
        assert self.image is not None
        return self.image

    @property
    def first(self) -> Tensor | None:
        """[R] int64 first image of each row; None for image r."""
        return None if self.index is None else self.index[:, 0]

    def of_rows(self, values: Tensor) -> Tensor:
        """[I, ...] values per image -> [R, ...] of each row's first image."""
        return values if self.first is None else values[self.first]
