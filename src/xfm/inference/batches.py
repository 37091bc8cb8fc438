"""Rows of pipelines that are answered in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from xfm.data.collate import LENGTH_STEP
from xfm.data.schema import Tokens
from xfm.data.shapes import round_up
from xfm.data.tokenizer import normalise_caption
from xfm.inference.engine import Engine
from xfm.inference.items import Item
from xfm.modeling.task_models import Encoded


@dataclass(frozen=True)
class InputBatch(Encoded):
    """Rows that are answered in one pass.

    Attributes:
        items: R rows of the same number of texts and of pictures.
        keys: identities of the I distinct pictures.
    """

    items: Sequence[Item] = ()
    keys: Sequence[bytes] = ()


def as_captions(engine: Engine, texts: Sequence[str]) -> Tokens:
    """[R, T] texts as the model reads captions."""
    return engine.tokenizer.encode_batch([normalise_caption(text) for text in texts], engine.longest).tokens


def cut(tokens: Tokens, rows: Sequence[int], longest: int) -> Tokens:
    """Some rows without padding that none of them needs, but for few different lengths."""
    index = torch.tensor(rows)
    mask = tokens.mask[index]
    length = min(round_up(int(mask.sum(dim=1).max()), LENGTH_STEP), mask.shape[1], longest)
    return Tokens(tokens.ids[index, :length], mask[:, :length])
