"""RoBERTa language encoder; BERT is the same with other settings."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from xfm.config.encoders import LanguageConfig, TextPooling
from xfm.data.schema import Tokens
from xfm.models.attention_layout import Texts, leaves_padding_out, pack_texts, padded
from xfm.models.layers import Embeddings, FeedForward, SelfAttention, initialise_normal, mean_of_tokens


class LanguageLayer(nn.Module):
    """Self-attention, then feed-forward; post-norm after each."""

    units = ("attention", "feed_forward")  # parts that are sharded by themselves

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config.width, config.heads, config.dropout, config.norm_eps)
        self.feed_forward = FeedForward(config.width, config.mlp_width, config.dropout, config.norm_eps)

    def forward(self, states: Tensor, texts: Texts) -> Tensor:
        """[R, T, D], or the N tokens [N, D] of a packed layout -> the same shape."""
        return self.feed_forward(self.attention(states, texts))


class LanguageEncoder(nn.Module):
    """Token ids to hidden states."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config, config.dropout, config.norm_eps)
        self.layers = nn.ModuleList(LanguageLayer(config) for _ in range(config.depth))
        initialise_normal(self, config.init_std)

    @property
    def words(self) -> nn.Embedding:
        """The word matrix [V, D], to which the MLM head is tied."""
        return self.embeddings.words

    def copy_words(self, embeddings: Embeddings) -> None:
        """Overwrite all embeddings with this encoder's."""
        embeddings.load_state_dict(self.embeddings.state_dict())

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] int64 ids and bool mask -> [R, T, D], slot 0 as pooled; states of padding are undefined."""
        if leaves_padding_out(mask, needed=not self.training):
            return self._packed([ids], [mask])[0]
        states, texts = self.embeddings(ids), padded(mask)
        for layer in self.layers:
            states = layer(states, texts)
        return self._pooled(states, mask)

    def encode_all(self, batches: Sequence[Tokens]) -> list[Tensor]:
        """Batches of texts -> a [R, T, D] for each, in one packed pass on a CPU."""
        if leaves_padding_out(batches[0].mask, needed=False):
            return self._packed([batch.ids for batch in batches], [batch.mask for batch in batches])
        return [self(batch.ids, batch.mask) for batch in batches]

    def encode_first(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] ids and mask -> [R, D] token 0; the last layer computes nothing else."""
        if self.config.pooling is TextPooling.MEAN or not leaves_padding_out(mask, needed=False):
            return self(ids, mask)[:, 0]
        return self._packed([ids], [mask], first=True)[0]

    def _packed(self, ids: Sequence[Tensor], masks: Sequence[Tensor], first: bool = False) -> list[Tensor]:
        layout = pack_texts(masks)
        states = layout.outside.collect([self.embeddings(batch) for batch in ids])
        for layer in self.layers[:-1]:
            states = layer(states, layout.texts)
        read = layout.read([batch.new_zeros(len(batch), 1) for batch in ids]) if first else None
        states = self.layers[-1](states, replace(layout.texts, read=read))
        if first:
            return [states[: len(ids[0])]]
        return [*map(self._pooled, layout.outside.spread(states), masks)]

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.config.pooling is TextPooling.FIRST:
            return states
        return torch.cat([mean_of_tokens(states, mask)[:, None], states[:, 1:]], dim=1)
