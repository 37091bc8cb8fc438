"""Fusion encoder: text states attend to themselves and to pictures (paper section 3.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xfm.config.model import AnyLanguageConfig, FusionConfig
from xfm.modeling.attention import attend, join_heads, padding_bias, split_heads
from xfm.modeling.grouping import Groups, group_queries
from xfm.modeling.layers import EPS, Embeddings, FeedForward, SelfAttention, initialise_normal
from xfm.modeling.packing import PADDED, Layout, lay_out


@dataclass(frozen=True)
class ImageBank:
    """Picture states that fusion queries point into: each is encoded, and turned to keys and values, once.

    Attributes:
        slots: [I, S, Dv] slot-0 vectors of each picture: of the whole in column 0, of regions in the others.
        patches: [I, P, Dv] patch vectors.
    """

    slots: Tensor
    patches: Tensor

    @property
    def keys(self) -> Tensor:
        """[I, S + P, Dv] everything that can be attended to."""
        return torch.cat([self.slots, self.patches], dim=1)

    def detach(self) -> "ImageBank":
        """The same states without their gradient."""
        return ImageBank(self.slots.detach(), self.patches.detach())


@dataclass(frozen=True)
class FusionQuery:
    """Q texts, each fused with one picture of a bank or with a region of it.

    Attributes:
        text: [Q, T, Dt] states of the language encoder.
        text_mask: [Q, T] bool.
        image: [Q] int64, the picture.
        slot: [Q] int64, which of the picture's slots stands in slot 0; None for the whole picture's.
        visible: [Q, P] bool, the patches that may be attended to; None for all.
    """

    text: Tensor
    text_mask: Tensor
    image: Tensor
    slot: Tensor | None = None
    visible: Tensor | None = None

    def visible_keys(self, bank: ImageBank) -> Tensor | None:
        """[Q, S + P] bool keys that each query sees, or None where it sees all."""
        slots, patches = bank.slots.shape[1], bank.patches.shape[1]
        if slots == 1 and self.visible is None:
            return None
        queries = len(self.image)
        keys = self.image.new_zeros(queries, slots + patches, dtype=torch.bool)
        slot = torch.zeros_like(self.image) if self.slot is None else self.slot
        keys[torch.arange(queries, device=slot.device), slot] = True
        keys[:, slots:] = True if self.visible is None else self.visible
        return keys


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

    def forward(
        self, states: Tensor, source: Tensor, groups: Groups, bias: Tensor | None, layout: Layout = PADDED
    ) -> Tensor:
        """Attend.

        Args:
            states: [Q, T, D], or as `layout` packs it.
            source: [M, K, Ds], the memories that keys and values come from.
            groups: which memory each query attends to.
            bias: what `groups.bias` made of the visible keys.
            layout: of the states.

        Returns:
            The states' shape.
        """
        key_value = groups.share(self.key_value(source))
        key, value = (split_heads(t, self.heads) for t in key_value.chunk(2, dim=-1))
        query = split_heads(groups.gather(layout.unpack(self.query(states))), self.heads)
        attended = attend(query, key, value, bias, self.dropout_rate if self.training else 0.0)
        attended = layout.pack(groups.scatter(join_heads(attended)))
        return self.norm(states + self.dropout(self.out(attended)))


class FusionLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward; residual and post-norm after each."""

    def __init__(self, config: FusionConfig, width: int, source_width: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, config.heads, config.dropout)
        self.cross_attention = CrossAttention(width, source_width, config.heads, config.dropout)
        self.feed_forward = FeedForward(width, config.mlp_width, config.dropout)

    def forward(
        self,
        states: Tensor,
        bias: Tensor,
        source: Tensor,
        groups: Groups,
        cross_bias: Tensor | None,
        layout: Layout = PADDED,
    ) -> Tensor:
        """[Q, T, D], or as `layout` packs it -> the same shape; the rest as `CrossAttention` takes it."""
        states = self.attention(states, bias, layout)
        return self.feed_forward(self.cross_attention(states, source, groups, cross_bias, layout))


class FusionEncoder(nn.Module):
    """Fuses text with pictures.

    The embeddings are not used here: their words are the tied output matrix of the token head, and the whole
    of them is what a decoder that starts from this encoder looks tokens up in.
    """

    def __init__(self, config: FusionConfig, language: AnyLanguageConfig, image_width: int) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(language, config.dropout)
        layers = (FusionLayer(config, language.width, image_width) for _ in range(config.depth))
        self.layers = nn.ModuleList(layers)
        initialise_normal(self, config.init_std)

    def forward(self, query: FusionQuery, bank: ImageBank) -> Tensor:
        """Fuse.

        Returns:
            [Q, T, Dt] hidden states; token 0 stands for the pair.
        """
        groups = group_queries(query.image, len(bank.patches), query.text.shape[1])
        cross_bias = groups.bias(query.visible_keys(bank))
        layout, bias, keys = lay_out(query.text_mask, self.training), padding_bias(query.text_mask), bank.keys
        states = layout.pack(query.text)
        for layer in self.layers:
            states = layer(states, bias, keys, groups, cross_bias, layout)
        return layout.unpack(states)
