"""Layers that encoders share: embeddings, post-norm attention and feed-forward, fixed positions."""

import math

import torch
from torch import Tensor, nn

from xfm.config.encoders import AnyLanguageConfig
from xfm.models.attention import Dropout, attend, join_heads, split_all, split_heads
from xfm.models.attention_layout import Texts
from xfm.models.precision import working_dtype

EPS = 1e-5


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """[R, T, D] states and [R, T] bool mask -> [R, D]."""
    return states.masked_fill(~mask[..., None], 0).sum(dim=1) / mask.sum(dim=1, keepdim=True)


class Embeddings(nn.Module):
    """Word, position and token-type embeddings of RoBERTa or BERT, then LayerNorm and dropout."""

    def __init__(self, config: AnyLanguageConfig, dropout: float, eps: float = EPS) -> None:
        super().__init__()
        self.pad, self.first, self.separator = config.pad, config.first_position, config.separator
        self.words = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Embedding(config.max_positions, config.width)
        one = config.segments == 1
        self.token_type = nn.Parameter(torch.zeros(config.width) if one else torch.zeros(2, config.width))
        self.norm = nn.LayerNorm(config.width, eps=eps)
        self.dropout = Dropout(dropout)

    def position_ids(self, ids: Tensor) -> Tensor:
        """[R, T] ids -> [R, T] positions: real tokens count up from the first, pads take the row before."""
        real = ids.ne(self.pad)
        return (self.first - 1 + real.cumsum(dim=1) * real).clamp_(min=0)

    def forward(self, ids: Tensor) -> Tensor:
        """[R, T] int64 -> [R, T, D]."""
        types = self.token_type  # [D], or [2, D]: the second one after a separator
        if types.ndim > 1:
            ends = ids.eq(self.separator)
            types = types[(ends.cumsum(dim=1) - ends.long()).clamp_(max=1)]
        states = self.words(ids) + types + self.positions(self.position_ids(ids))
        return working_dtype(self.dropout(self.norm(states)))


class SelfAttention(nn.Module):
    """Self-attention with residual and post-norm."""

    def __init__(self, width: int, heads: int, dropout: float, eps: float = EPS) -> None:
        super().__init__()
        self.heads, self.dropout_rate = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor, texts: Texts) -> Tensor:
        """[R, T, D] or N packed tokens [N, D] -> the same shape, or [n, D] of the tokens read."""
        qkv, read, grid = self.qkv(states), texts.read, texts.grid
        queries, keys, values = zip(*(split_all(t, self.heads, 3) for t in grid.spread(qkv)), strict=True)
        if read is not None:
            own = qkv.narrow(-1, 0, states.shape[-1]).index_select(0, read.index)
            queries = [split_heads(t, self.heads) for t in read.grid.spread(own)]
            states, grid = states.index_select(0, read.index), read.grid
        dropout = self.dropout_rate if self.training else 0.0
        attended = [
            join_heads(attend(query, key, value, bias, dropout))
            for query, key, value, bias in zip(queries, keys, values, texts.biases, strict=True)
        ]
        return self.norm(states + self.dropout(self.out(grid.collect(attended).view_as(states))))


class FeedForward(nn.Module):
    """Two-layer feed-forward part with residual and post-norm."""

    def __init__(self, width: int, hidden: int, dropout: float, eps: float = EPS) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        hidden = nn.functional.gelu(self.fc1(states))
        return self.norm(states + self.dropout(self.fc2(hidden)))


def initialise_normal(module: nn.Module, std: float = 0.02) -> None:
    """RoBERTa's initialisation: N(0, std) matrices, zero biases, unit LayerNorms."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, Embeddings):
            nn.init.normal_(part.token_type, std=std)


def sine_table(length: int, channels: int, longest: float) -> Tensor:
    """[length, channels] float32 in [-1, 1]: sines then cosines of 0.5, 1.5, ... at wavelengths from 2 to
    `longest`, spaced geometrically."""
    wavelengths = torch.logspace(math.log10(2.0), math.log10(longest), channels // 2)
    angles = (torch.arange(length) + 0.5)[:, None] * (2 * math.pi / wavelengths)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def fix(module: nn.Module, name: str, table: Tensor | None, like: Tensor) -> None:
    """Register a non-persistent buffer on the device and in the dtype of the parameter `like`; `table`
    None registers None."""
    device = torch.get_default_device() if like.is_meta else like.device
    if table is not None:
        table = table.to(device, like.dtype if table.is_floating_point() else None)
    module.register_buffer(name, table, persistent=False)
