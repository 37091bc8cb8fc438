"""Causal decoder for answers and captions, started from the fusion encoder (spec: fine-tuning)."""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from xfm.modeling.attention import MASKED, padding_bias
from xfm.modeling.composition import Backbone
from xfm.modeling.fusion import FusionLayer
from xfm.modeling.grouping import Memory, remember
from xfm.modeling.layers import initialise_normal
from xfm.modeling.packing import padded


class Decoder(nn.Module):
    """The fusion encoder's layers, embeddings and token head, run causally over a memory.

    For answers the memory is the fused question, for captions it is the picture.
    """

    last_norms: tuple[nn.Module, ...] = ()  # every layer ends with its own

    def __init__(self, model: Backbone, memory_width: int) -> None:
        """Copy the parts of `model`; a memory of another width gets fresh keys and values."""
        super().__init__()
        self.embeddings = copy.deepcopy(model.fusion.embeddings)
        self.layers = copy.deepcopy(model.fusion.layers)
        self.head = copy.deepcopy(model.fusion_head)
        if memory_width != model.config.seeing.width:
            for layer in self.layers:
                assert isinstance(layer, FusionLayer)
                layer.cross_attention.key_value = nn.Linear(memory_width, 2 * model.config.language.width)
                initialise_normal(layer.cross_attention.key_value)

    @classmethod
    def from_fusion(cls, model: Backbone, memory_width: int | None = None) -> Self:
        """A decoder over memories of the language width (fused questions) unless another is given."""
        return cls(model, model.config.language.width if memory_width is None else memory_width)

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        memory: Tensor,
        memory_mask: Tensor,
        memory_index: Tensor | None = None,
    ) -> Tensor:
        """Next-token logits.

        Args:
            ids: [N, L] int64, starting with the begin token.
            mask: [N, L] bool, True at real tokens.
            memory: [M, S, D] states to attend to.
            memory_mask: [M, S] bool.
            memory_index: [N] int64, the memory of each row; by default row n has memory n.

        Returns:
            [N, L, V]; position l predicts token l + 1.
        """
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
