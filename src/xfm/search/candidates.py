"""What the store found for searches, and the fusion encoder's look at many of them in one pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.index import SearchOptions
from xfm.inference.engine import EncodedPictures, Engine
from xfm.inference.picture_inputs import Picture
from xfm.search.store import Near, digest, from_png

_TOGETHER = 128
"""Pairs of texts and pictures that are matched in one pass, as long as one search has no more."""
_ENCODED = torch.empty(0)
"""In the place of pixels that nobody looks at any more."""


@dataclass(frozen=True)
class SearchQuery:
    """A question in vectors.

    Attributes:
        vector: [E] float32 of unit length.
        words: of its text, if it has one: the states [1, T, D] and the mask [1, T] bool.
        by_text: whether there is nothing but a text.
    """

    vector: NDArray[np.float32]
    words: tuple[Tensor, Tensor] | None
    by_text: bool


@dataclass(frozen=True)
class Shortlist:
    """What the store found.

    Attributes:
        query: what was searched.
        options: how.
        near: the nearest pictures, the best first.
        pixels: of each its PNG, where a text is to be matched with them; else none.
        searched: pictures that passed the conditions.
    """

    query: SearchQuery
    options: SearchOptions
    near: list[Near]
    pixels: list[bytes]
    searched: int


@torch.inference_mode()
def match_lists(
    engine: Engine, encoded: EncodedPictures, lists: Sequence[Shortlist]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The texts of searches matched with the pictures on their lists.

    Args:
        engine: the model.
        encoded: pictures that were encoded lately.
        lists: of the searches.

    Yields:
        For each search [N, 2] logits of a match and [N, 4] boxes of its pictures.
    """
    model, shape = engine.model, engine.pretrained.preprocessing.shape
    for part in _parts(lists):
        pictures = [_picture(near, data, encoded, shape) for one in part for near, data in _with_pixels(one)]
        encoded.need(pictures)
        states, index = encoded.stack([one.key for one in pictures])
        texts, mask = _stacked([one.query.words for one in part if one.query.words is not None])
        sizes = [len(one.pixels) for one in part]
        said = torch.arange(len(part), device=states.device).repeat_interleave(
            torch.tensor(sizes, device=states.device)
        )
        with engine.arithmetic():
            fused = model.fuse_first(texts, mask, states, index, said)
            logits, boxes = model.match_logits(fused).cpu(), model.boxes(fused).cpu()
        yield from zip(logits.split(sizes), boxes.split(sizes), strict=True)


def _picture(near: Near, data: bytes, encoded: EncodedPictures, shape: tuple[int, int]) -> Picture:
    """A picture as the model sees it; one whose encoding is remembered is not decoded again."""
    key = digest(data)
    pixels = _ENCODED if key in encoded else from_png(data, shape)
    return Picture(pixels, near.entry.width, near.entry.height, key)


def _parts(lists: Sequence[Shortlist]) -> Iterator[Sequence[Shortlist]]:
    part, pairs = list[Shortlist](), 0
    for one in lists:
        if part and pairs + len(one.pixels) > _TOGETHER:
            yield part
            part, pairs = [], 0
        part.append(one)
        pairs += len(one.pixels)
    if part:
        yield part


def _with_pixels(one: Shortlist) -> Iterator[tuple[Near, bytes]]:
    return zip(one.near, one.pixels, strict=True)


def _stacked(words: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """States [R, T, D] and mask [R, T] of texts that have T tokens at most."""
    longest = max(mask.shape[1] for _, mask in words)

    def padded(one: Tensor) -> Tensor:
        return torch.nn.functional.pad(one, [0, 0] * (one.ndim - 2) + [0, longest - one.shape[1]])

    return torch.cat([padded(one) for one, _ in words]), torch.cat([padded(mask) for _, mask in words])
