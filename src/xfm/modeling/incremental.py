"""The decoder fed one token at a time: keys and values of what it has read are kept."""

from torch import Tensor

from xfm.modeling.attention import attend, join_heads, padding_bias, split_heads
from xfm.modeling.decoder import Decoder
from xfm.modeling.fusion import CrossAttention, FusionLayer
from xfm.modeling.layers import SelfAttention


class CachedDecoder:
    """N texts, K on each of M memories in turn, that grow by a token a step.

    The logits are those of `Decoder.forward` at the last token (a test compares them). A memory's keys and
    values are computed once, and its K texts attend to them side by side.

    Args:
        decoder: in evaluation mode.
        memory: [M, S, D] states to attend to.
        memory_mask: [M, S] bool.
        each: K, texts on each memory.
        length: most tokens that a text will have.
    """

    def __init__(self, decoder: Decoder, memory: Tensor, memory_mask: Tensor, each: int, length: int) -> None:
        self.decoder, self.each, self.read = decoder, each, 0
        self._bias = padding_bias(memory_mask)  # [M, 1, 1, S]
        layers = (layer for layer in decoder.layers if isinstance(layer, FusionLayer))
        self._layers = [_CachedLayer(layer, memory, length) for layer in layers]

    def step(self, ids: Tensor) -> Tensor:
        """Read the last token of every text.

        Args:
            ids: [N, L] int64, the texts so far; all but the last token have been read.

        Returns:
            [N, V] logits of the next token.
        """
        # The whole texts are looked up, which costs next to nothing: a token's position and type depend on
        # those before it.
        states = self.decoder.embeddings(ids)[:, -1:]  # [N, 1, D]
        for layer in self._layers:
            states = layer.step(states, self._bias, self.each, self.read)
        self.read += 1
        return self.decoder.head(states[:, 0], self.decoder.embeddings.words)

    def reorder(self, rows: Tensor) -> None:
        """Go on with other texts: [N] int64, which text each place takes, of the same memory."""
        for layer in self._layers:
            layer.reorder(rows, self.read)


class _CachedLayer:
    """One layer with the keys and values of its memory and of the tokens that it has read."""

    def __init__(self, layer: FusionLayer, memory: Tensor, length: int) -> None:
        self.layer, self._length = layer, length
        cross = layer.cross_attention
        self._cross = [split_heads(t, cross.heads) for t in cross.key_value(memory).chunk(2, dim=-1)]
        self._own: list[Tensor] = []  # keys and values [N, H, length, d], once their dtype is known

    def step(self, states: Tensor, bias: Tensor, each: int, read: int) -> Tensor:
        """[N, 1, D] the last tokens -> [N, 1, D]."""
        states = self._attend_to_text(self.layer.attention, states, read)
        return self.layer.feed_forward(self._attend_to_memory(self.layer.cross_attention, states, bias, each))

    def _attend_to_text(self, part: SelfAttention, states: Tensor, read: int) -> Tensor:
        query, *new = (split_heads(t, part.heads) for t in part.qkv(states).chunk(3, dim=-1))  # [N, H, 1, d]
        if not self._own:
            rows, heads, _, width = query.shape
            self._own = [tensor.new_zeros(rows, heads, self._length, width) for tensor in new]
        for kept, tensor in zip(self._own, new, strict=True):
            kept[:, :, read] = tensor[:, :, 0]
        key, value = (kept[:, :, : read + 1] for kept in self._own)
        return part.norm(states + part.out(join_heads(attend(query, key, value))))

    def _attend_to_memory(self, part: CrossAttention, states: Tensor, bias: Tensor, each: int) -> Tensor:
        key, value = self._cross
        side_by_side = part.query(states).view(len(key), each, -1)  # [M, K, D]
        attended = attend(split_heads(side_by_side, part.heads), key, value, bias)
        return part.norm(states + part.out(join_heads(attended).view_as(states)))

    def reorder(self, rows: Tensor, read: int) -> None:
        """Take the cached tokens of other texts."""
        for kept in self._own:
            kept[:, :, :read] = kept[:, :, :read].index_select(0, rows)
