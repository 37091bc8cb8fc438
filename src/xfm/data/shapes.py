"""Few shapes: CPU kernels are built per shape, so sizes are rounded up and the rest is padding."""

import torch.nn.functional as F

from xfm.data.collate import LENGTH_STEP
from xfm.data.schema import Tokens
from xfm.data.tokenizer import EncodedBatch, Tokenizer


def round_up(count: int, step: int) -> int:
    """The smallest multiple of `step` that is at least `count`."""
    return -(-count // step) * step


def padded_tokens(encoded: EncodedBatch, tokenizer: Tokenizer, step: int = LENGTH_STEP) -> Tokens:
    """Tokens of a batch [R, T] with T rounded up to a multiple of `step`."""
    extra = round_up(encoded.ids.shape[1], step) - encoded.ids.shape[1]
    return Tokens(F.pad(encoded.ids, (0, extra), value=tokenizer.pad), F.pad(encoded.mask, (0, extra)))
