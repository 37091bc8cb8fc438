"""Fusion encoder: text states attend to themselves and to images (paper section 3.1)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from xfm.config.encoders import AnyLanguageConfig, FusionConfig, TextPositions
from xfm.data.collate import LENGTH_STEP, round_up
from xfm.models.attention import Dropout, attend, join_heads, split_all, split_heads
from xfm.models.attention_layout import Packed, Texts, leaves_padding_out, pack_texts, padded
from xfm.models.layers import EPS, Embeddings, FeedForward, SelfAttention, fix, initialise_normal, sine_table
from xfm.models.shared_kv import Memories, Memory, remember, side_by_side


@dataclass(frozen=True)
class ImageBank:
    """Image states that fusion queries index: slots [I, S, Dv] (column 0 the whole image, then regions)
    and patches [I, P, Dv]; keys and values are computed once per image."""

    slots: Tensor
    patches: Tensor

    @property
    def keys(self) -> Tensor:
        """[I, S + P, Dv] all keys."""
        return torch.cat([self.slots, self.patches], dim=1)


@dataclass(frozen=True)
class TextBank:
    """Text states [R, T, Dt] and mask [R, T] that fusion queries index; image-independent work is done
    once per text."""

    states: Tensor
    mask: Tensor


@dataclass(frozen=True)
class FusionQuery:
    """Q texts [Q] int64 of a bank, each fused with an image [Q] int64. `slot` [Q] int64 is the image's slot
    in slot 0 (None: the whole image), `visible` [Q, P] bool the patches attended to (None: all), `read` [Q,
    m] int64 the positions whose states are returned (None: all). Queries share a bank by object identity."""

    texts: TextBank
    images: ImageBank
    text: Tensor
    image: Tensor
    slot: Tensor | None = None
    visible: Tensor | None = None
    read: Tensor | None = None

    @property
    def visible_keys(self) -> Tensor | None:
        """[Q, S + P] bool visible keys, None for all."""
        slots, patches = self.images.slots.shape[1], self.images.patches.shape[1]
        if slots == 1 and self.visible is None:
            return None
        queries = len(self.image)
        keys = self.image.new_zeros(queries, slots + patches, dtype=torch.bool)
        slot = torch.zeros_like(self.image) if self.slot is None else self.slot
        keys[torch.arange(queries, device=slot.device), slot] = True
        keys[:, slots:] = True if self.visible is None else self.visible
        return keys

    def answer(self, states: Tensor) -> Tensor:
        """[Q, T, Dt] states -> [Q, m, Dt] at the `read` positions."""
        if self.read is None:
            return states
        return states[torch.arange(len(states), device=states.device)[:, None], self.read]


def _by_identity(banks: Iterable[object]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for place, bank in enumerate(banks):
        found.setdefault(id(bank), []).append(place)
    return found


def memory_of(queries: Sequence[FusionQuery]) -> Memory:
    """Image memory of the queries on one bank, all or none of which are on regions."""
    keys = [keys for query in queries if (keys := query.visible_keys) is not None]
    index = torch.cat([query.image for query in queries])
    return Memory(queries[0].images.keys, index, torch.cat(keys) if keys else None)


LONGEST_WAVE = 512.0
"""Tokens of the longest wave of positions, whatever the longest text: they stay the same where it changes."""


class CrossAttention(nn.Module):
    """Cross-attention with residual and post-norm; keys and values take another width."""

    def __init__(self, width: int, source_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout_rate = heads, dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(source_width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor, memories: Memories) -> Tensor:
        """[Q, T, D], or N tokens [N, D] -> the same shape."""
        shared = memories.share([self.key_value(source) for source in memories.sources])
        return self.look(states, [split_all(pair, self.heads, 2) for pair in shared], memories)

    def look(self, states: Tensor, shared: Sequence[Sequence[Tensor]], memories: Memories) -> Tensor:
        """`forward` with keys and values [B, H, K, d] of each part of the layout."""
        dropout = self.dropout_rate if self.training else 0.0
        queries, attended = memories.grid.spread(self.query(states)), []
        for query, (key, value), bias in zip(queries, shared, memories.biases, strict=True):
            attended.append(join_heads(attend(split_heads(query, self.heads), key, value, bias, dropout)))
        collected = memories.grid.collect(attended).view_as(states)
        return self.norm(states + self.dropout(self.out(collected)))


class FusionLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward; residual and post-norm after each."""

    units = ("attention", "cross_attention", "feed_forward")  # parts that are sharded by themselves

    def __init__(self, config: FusionConfig, width: int, source_width: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, config.heads, config.dropout)
        self.cross_attention = CrossAttention(width, source_width, config.heads, config.dropout)
        self.feed_forward = FeedForward(width, config.mlp_width, config.dropout)

    def forward(self, states: Tensor, texts: Texts | None, memories: Memories) -> Tensor:
        """[Q, T, D] or packed [N, D] states -> the same shape, or [n, D] of the tokens read; `texts` is
        None where self-attention is done already."""
        states = states if texts is None else self.attention(states, texts)
        return self.feed_forward(self.cross_attention(states, memories))


class FusionEncoder(nn.Module):
    """Fusion encoder. Its embeddings are not used in the pass: their words are the token head's tied
    matrix, and a decoder started from this encoder looks its tokens up in them."""

    positions: Tensor | None

    def __init__(self, config: FusionConfig, language: AnyLanguageConfig, image_width: int) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(language, config.dropout)
        self.embeddings.words.requires_grad_(not config.frozen_words)
        layers = (FusionLayer(config, language.width, image_width) for _ in range(config.depth))
        self.layers = nn.ModuleList(layers)
        self.longest = round_up(language.longest, LENGTH_STEP)
        self.compute_buffers()
        initialise_normal(self, config.init_std)

    def compute_buffers(self) -> None:
        """Compute the buffers that no file of weights holds."""
        like = self.embeddings.words.weight
        with torch.device("cpu"):  # see VisionEncoder
            sine = self.config.positions is TextPositions.SINE
            table = sine_table(self.longest, like.shape[1], LONGEST_WAVE) if sine else None
        fix(self, "positions", table, like)

    def place(self, states: Tensor) -> Tensor:
        """[R, T, Dt] text states plus positions, where the configuration has any."""
        return states if self.positions is None else states + self.positions[: states.shape[1]].to(states)

    def forward(self, queries: Sequence[FusionQuery]) -> list[Tensor]:
        """[Q, T, Dt] for each query, or [Q, m, Dt] at its `read` positions. On a CPU one packed pass
        answers all queries; on a GPU, and in evaluation where all positions are read, each image bank has
        a padded pass."""
        everything = any(query.read is None for query in queries)
        if leaves_padding_out(queries[0].texts.mask, needed=everything and not self.training):
            places = [place for some in _by_identity(q.images for q in queries).values() for place in some]
            answers = self._packed([queries[place] for place in places])
            return [answer for _, answer in sorted(zip(places, answers, strict=True), key=lambda x: x[0])]
        found: dict[int, Tensor] = {}
        for places in _by_identity(query.images for query in queries).values():
            asked = [queries[place] for place in places]
            states = torch.cat([query.texts.states.index_select(0, query.text) for query in asked])
            mask = torch.cat([query.texts.mask.index_select(0, query.text) for query in asked])
            texts, memories = padded(mask), remember(memory_of(asked), states.shape[1])
            states = self.place(states)
            for layer in self.layers:
                states = layer(states, texts, memories)
            parts = states.split([len(query.text) for query in asked])
            found.update({p: q.answer(s) for p, q, s in zip(places, asked, parts, strict=True)})
        return [found[place] for place in range(len(queries))]

    def _packed(self, queries: Sequence[FusionQuery]) -> list[Tensor]:
        reads = [query.read for query in queries if query.read is not None]
        partly = len(reads) == len(queries) and len(self.layers) > 1
        kinds = [int(read.shape[1] > 1) for read in reads] if partly else None
        layout = pack_texts([query.texts.mask.index_select(0, query.text) for query in queries], kinds)
        on_banks = _by_identity(query.images for query in queries).values()
        images = [memory_of([queries[place] for place in places]) for places in on_banks]
        memories = side_by_side(images, layout.text, len(layout.outside.place))
        states = self._begin(queries, layout, memories)
        for layer in self.layers[1:-1] if partly else self.layers[1:]:
            states = layer(states, layout.texts, memories)
        if not partly:
            found = layout.outside.spread(states)
            return [query.answer(of_query) for query, of_query in zip(queries, found, strict=True)]
        read = layout.read(reads)
        memories = side_by_side(images, read.text, len(read.index))
        states = self.layers[-1](states, replace(layout.texts, read=read), memories)
        answers = states[: len(read.text)].split([positions.numel() for positions in reads])
        shapes = [(*positions.shape, states.shape[-1]) for positions in reads]
        return [answer.view(shape) for answer, shape in zip(answers, shapes, strict=True)]

    def _begin(self, queries: Sequence[FusionQuery], layout: Packed, memories: Memories) -> Tensor:
        """[N, Dt] after the first layer, whose self-attention precedes any image and is computed once per
        text."""
        first = self.layers[0]
        assert isinstance(first, FusionLayer)
        by_bank = _by_identity(query.texts for query in queries)
        banks = [queries[places[0]].texts for places in by_bank.values()]
        own = pack_texts([bank.mask for bank in banks])
        states = first.attention(own.outside.collect([self.place(bank.states) for bank in banks]), own.texts)
        starts = dict(zip(by_bank, accumulate((len(bank.mask) for bank in banks), initial=0), strict=False))
        text = torch.cat([query.text + starts[id(query.texts)] for query in queries])
        rank = torch.arange(len(layout.text), device=text.device) - layout.first[layout.text]
        places = own.first[text[layout.text]] + rank
        places = nn.functional.pad(places, (0, len(layout.outside.place) - len(places)))
        return first(states.index_select(0, places), None, memories)
