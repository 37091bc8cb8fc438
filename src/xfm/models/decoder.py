"""Causal decoder for answers and captions, started from the fusion encoder; with its key-value cache."""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from xfm.models.attention import MASKED, attend, join_heads, padding_bias, split_heads
from xfm.models.attention_layout import PaddedRows, padded
from xfm.models.composition import Backbone
from xfm.models.fusion import FusionLayer
from xfm.models.layers import initialise_normal
from xfm.models.shared_kv import Memories, Memory, remember


class Decoder(nn.Module):
    """The fusion encoder's layers, embeddings and token head, run causally over a memory: fused questions
    for answers, images for captions."""

    def __init__(self, model: Backbone, memory_width: int | None = None) -> None:
        """Copy the parts of `model`; a memory of another width than an image's (by default the language
        width, of fused questions) gets fresh keys and values."""
        super().__init__()
        memory_width = model.config.language.width if memory_width is None else memory_width
        self.embeddings = copy.deepcopy(model.fusion.embeddings)
        self.layers = copy.deepcopy(model.fusion.layers)
        self.head = copy.deepcopy(model.fusion_head)
        if memory_width != model.config.vision.width:
            for layer in self.layers:
                assert isinstance(layer, FusionLayer)
                layer.cross_attention.key_value = nn.Linear(memory_width, 2 * model.config.language.width)
                initialise_normal(layer.cross_attention.key_value)

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        memory: Tensor,
        memory_mask: Tensor,
        memory_index: Tensor | None = None,
    ) -> Tensor:
        """Next-token logits [N, L, V] of ids [N, L] int64 and mask [N, L] bool over memory [M, S, D] with
        its mask [M, S]; `memory_index` [N] int64 defaults to memory n for row n."""
        length = ids.shape[1]
        if memory_index is None:
            memory_index = torch.arange(len(ids), device=ids.device)
        later = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
        texts = padded(mask, padding_bias(mask).masked_fill(later, MASKED))  # [N, 1, L, L]
        visible = memory_mask.index_select(0, memory_index)
        memories = remember(Memory(memory, memory_index, visible), length)
        states = self.embeddings(ids)
        for layer in self.layers:
            states = layer(states, texts, memories)
        return self.head(states, self.embeddings.words)


class CachedDecoder:
    """Incremental decoding with a key-value cache, K texts per memory [M, S, D]: the logits equal those of
    `Decoder.forward` at the last token."""

    def __init__(self, decoder: Decoder, memory: Tensor, memory_mask: Tensor, each: int = 1) -> None:
        self._decoder, self._memory, self._mask = decoder, memory, memory_mask
        self._index = torch.arange(len(memory), device=memory.device).repeat_interleave(each)
        grid = PaddedRows(len(memory), each)
        self._memories = Memories([memory], grid, [(0, None)], [padding_bias(memory_mask)])
        self._layers = [layer for layer in decoder.layers if isinstance(layer, FusionLayer)]
        parts = (layer.cross_attention for layer in self._layers)
        pairs = (part.key_value(memory).unflatten(-1, (2, part.heads, -1)) for part in parts)
        self._cross = [pair.permute(0, 2, 3, 1, 4).contiguous() for pair in pairs]  # [M, 2, H, S, d]
        self._read: list[Tensor | None] = [None] * len(self._layers)  # keys and values [2, N, H, L, d]

    def step(self, ids: Tensor) -> Tensor:
        """[N, L] int64 texts, all but the last token read before -> [N, V] logits of the next token."""
        # The whole texts are looked up, which costs next to nothing: a token's position and type depend on
        # those before it.
        states = self._decoder.embeddings(ids)[:, -1:]  # [N, 1, D]
        for place, layer in enumerate(self._layers):
            own, cross, read = layer.attention, layer.cross_attention, self._read[place]
            query, *new = (split_heads(part, own.heads) for part in own.qkv(states).chunk(3, dim=-1))
            pair = torch.stack(new) if read is None else torch.cat([read, torch.stack(new)], dim=3)
            self._read[place] = pair
            states = own.norm(states + own.out(join_heads(attend(query, pair[0], pair[1]))))
            shared = self._memories.share([self._cross[place]])
            states = cross.look(states, [(both[:, 0], both[:, 1]) for both in shared], self._memories)
            states = layer.feed_forward(states)
        return self._decoder.head(states[:, 0], self._decoder.embeddings.words)

    def reorder(self, rows: Tensor) -> None:
        """Continue with other texts of the same memory: [N] int64, the text that each place takes."""
        self._read = [None if read is None else read.index_select(1, rows) for read in self._read]

    def branch(self, rows: Tensor) -> Self:
        """[n] int64 -> a new cache that continues from these texts, repeats allowed; this one stays."""
        other = copy.copy(self)
        other._index = self._index[rows]
        seen = self._mask.index_select(0, other._index)
        other._memories = remember(Memory(self._memory, other._index, seen), 1)
        other.reorder(rows)
        return other
