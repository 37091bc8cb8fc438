"""Rows of pipelines that are answered in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.data.collate import LENGTH_STEP
from xfm.data.schema import Tokens
from xfm.data.shapes import round_up
from xfm.data.tokenizer import normalise_caption
from xfm.inference.engine import Engine
from xfm.inference.items import Item


@dataclass(frozen=True)
class Batch:
    """Rows that are answered in one pass.

    Attributes:
        items: R rows of the same number of texts and of pictures.
        tokens: [R, T], a pair of texts as one sequence; None where rows have no texts.
        image: [I, 1 + P, Dv] distinct pictures, encoded; None where rows have none.
        index: [R, K] int64, the K pictures of each row.
        keys: identities of the I pictures.
    """

    items: Sequence[Item]
    tokens: Tokens | None
    image: Tensor | None
    index: Tensor | None
    keys: Sequence[bytes] = ()

    @property
    def fused(self) -> tuple[Tokens, Tensor, Tensor]:
        """Texts, pictures and [R] the picture of each text, of rows that have one of each."""
        assert self.tokens is not None
        assert self.image is not None
        assert self.index is not None
        return self.tokens, self.image, self.index[:, 0]


def as_captions(engine: Engine, texts: Sequence[str]) -> Tokens:
    """[R, T] texts as the model reads captions."""
    return engine.tokenizer.encode_batch([normalise_caption(text) for text in texts], engine.longest).tokens


def cut(tokens: Tokens, rows: Sequence[int], longest: int) -> Tokens:
    """Some rows without padding that none of them needs, but for few different lengths."""
    index = torch.tensor(rows)
    mask = tokens.mask[index]
    length = min(round_up(int(mask.sum(dim=1).max()), LENGTH_STEP), mask.shape[1], longest)
    return Tokens(tokens.ids[index, :length], mask[:, :length])
