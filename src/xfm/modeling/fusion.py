"""Fusion encoder: text states attend to themselves and to pictures (paper section 3.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xfm.config.model import FusionConfig, LanguageConfig
from xfm.modeling.attention import attend, join_heads, padding_bias, split_heads
from xfm.modeling.layers import EPS, Embeddings, FeedForward, SelfAttention, initialise_normal


@dataclass(frozen=True)
class ImageBank:
    """Picture states that fusion queries point into, each encoded (and turned to keys and values) once.

    Attributes:
        patches: [I, P, Dv] patch vectors of I pictures.
        slots: [S, Dv] slot-0 vectors: of whole pictures or of regions.
    """

    patches: Tensor
    slots: Tensor


@dataclass(frozen=True)
class FusionQuery:
    """Q texts, each fused with one picture of a bank.

    Attributes:
        text: [Q, T, Dt] states of the language encoder.
        text_mask: [Q, T] bool.
        image_index: [Q] int64 into the bank's patches.
        slot_index: [Q] int64 into the bank's slots.
        visible: [Q, P] bool, the patches that may be attended to; None for all. Slot 0 always is visible.
    """

    text: Tensor
    text_mask: Tensor
    image_index: Tensor
    slot_index: Tensor
    visible: Tensor | None = None


class CrossAttention(nn.Module):
    """Cross-attention with residual and post-norm; keys and values take another width."""

    def __init__(self, width: int, source_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout_rate = heads, dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(source_width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, key_value: Tensor, bias: Tensor | None) -> Tensor:
        """[Q, T, D] states and [Q, K, 2 D] keys and values -> [Q, T, D]."""
        key, value = (split_heads(t, self.heads) for t in key_value.chunk(2, dim=-1))
        query = split_heads(self.query(states), self.heads)
        attended = attend(query, key, value, bias, self.dropout_rate if self.training else 0.0)
        return self.norm(states + self.dropout(self.out(join_heads(attended))))


class FusionLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward; residual and post-norm after each."""

    def __init__(self, config: FusionConfig, width: int, source_width: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, config.heads, config.dropout)
        self.cross_attention = CrossAttention(width, source_width, config.heads, config.dropout)
        self.feed_forward = FeedForward(width, config.mlp_width, config.dropout)

    def forward(self, states: Tensor, bias: Tensor, key_value: Tensor, cross_bias: Tensor | None) -> Tensor:
        """[Q, T, D] -> [Q, T, D]; key_value as `CrossAttention` takes it."""
        return self.feed_forward(self.cross_attention(self.attention(states, bias), key_value, cross_bias))


class FusionEncoder(nn.Module):
    """Fuses text with pictures.

    The embeddings are not used here: their words are the tied output matrix of the token head, and the whole
    of them is what a decoder that starts from this encoder looks tokens up in.
    """

    def __init__(self, config: FusionConfig, language: LanguageConfig, image_width: int) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(
            language.vocab_size, language.width, language.max_positions, config.dropout
        )
        self.layers = nn.ModuleList(
            FusionLayer(config, language.width, image_width) for _ in range(config.depth)
        )
        initialise_normal(self)

    def forward(self, query: FusionQuery, bank: ImageBank) -> Tensor:
        """Fuse.

        Returns:
            [Q, T, Dt] hidden states; token 0 stands for the pair.
        """
        states, bias = query.text, padding_bias(query.text_mask)
        cross_bias = None
        if query.visible is not None:
            slot0 = query.visible.new_ones(query.visible.shape[0], 1)
            cross_bias = padding_bias(torch.cat([slot0, query.visible], dim=1))
        for layer in self.layers:
            assert isinstance(layer, FusionLayer)
            project = layer.cross_attention.key_value
            slots, patches = project(bank.slots), project(bank.patches)  # once per picture, not per query
            key_value = torch.cat(
                [
                    slots.index_select(0, query.slot_index)[:, None],
                    patches.index_select(0, query.image_index),
                ],
                dim=1,
            )  # [Q, 1 + P, 2 Dt]
            states = layer(states, bias, key_value, cross_bias)
        return states
