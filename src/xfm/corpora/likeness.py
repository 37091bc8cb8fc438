"""Near-duplicate pictures: a perceptual hash of 64 bits, and pairs of near hashes.

The hash is pHash: the grey picture at 32 x 32, its discrete cosine transform, and of the 8 x 8 lowest
frequencies whether each is above their median. Shrunk, re-encoded or slightly brighter pictures keep all but
a few bits; others differ in about 32. Cropped or mirrored pictures are others.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from PIL import Image

from xfm.corpora.recoding import loaded
from xfm.data.picture_formats import Header

BITS = 64
_SIDE, _LOW = 32, 8
_BLOCK = 2048
"""Hashes that are compared with as many others at once."""


def perceptual_hash(data: bytes, header: Header) -> int:
    """64-bit hash of an upright picture; PictureError where it does not decode."""
    return hash_of(loaded(data, header, (2 * _SIDE, 2 * _SIDE))[0])


def hash_of(picture: Image.Image) -> int:
    """Hash of a decoded picture."""
    from scipy.fft import dctn

    small = picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    waves = np.asarray(dctn(np.asarray(small, dtype=np.float64), norm="ortho"))[:_LOW, :_LOW]
    # What is flat has nothing but noise of rounding there, of either sign.
    bits = waves > max(float(np.median(waves)), 1e-6)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_earlier(hashes: np.ndarray, distance: int) -> np.ndarray:
    """[N] bool: the uint64 hash is within `distance` bits of an earlier one."""
    unique, places = np.unique(hashes, return_index=True)  # the first place of each
    found = np.ones(len(hashes), dtype=bool)
    found[places] = False
    for first, second in _near(unique, unique, distance, within=True):
        found[np.maximum(places[first], places[second])] = True
    return found


def first_near(hashes: np.ndarray, place: int, distance: int) -> int | None:
    """Place of the first hash that is near the one at a place and before it."""
    near = np.flatnonzero(_ones(hashes[:place] ^ hashes[place]) <= distance)
    return int(near[0]) if len(near) else None


def near_any(hashes: np.ndarray, others: np.ndarray, distance: int) -> np.ndarray:
    """[N] bool: the hash is within `distance` bits of one of [M] others."""
    unique, inverse = np.unique(hashes, return_inverse=True)
    near = np.zeros(len(unique), dtype=bool)
    for first, _ in _near(unique, np.unique(others), distance, within=False):
        near[first] = True
    return near[inverse]


def _near(
    left: np.ndarray, right: np.ndarray, distance: int, within: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of near hashes in two arrays, maybe repeated; within one array, each pair in one order.

    Of two hashes that differ in d bits, one of d + 1 bands of bits is equal: only such are compared.
    """
    bands = distance + 1
    edges = [BITS * band // bands for band in range(bands + 1)]
    for low, high in pairwise(edges):
        mask = np.uint64((1 << (high - low)) - 1)
        left_keys, right_keys = ((side >> np.uint64(low)) & mask for side in (left, right))
        left_order = np.argsort(left_keys, kind="stable")
        right_order = left_order if within else np.argsort(right_keys, kind="stable")
        sorted_left, sorted_right = left_keys[left_order], right_keys[right_order]
        keys, starts, counts = np.unique(sorted_left, return_index=True, return_counts=True)
        firsts = np.searchsorted(sorted_right, keys, "left")
        lasts = np.searchsorted(sorted_right, keys, "right")
        wanted = counts > 1 if within else lasts > firsts
        spans = zip(starts[wanted], counts[wanted], firsts[wanted], lasts[wanted], strict=True)
        for start, count, first, last in spans:
            own, other = left_order[start : start + count], right_order[first:last]
            yield from _compared(left, right, own, other, distance, within)


def _compared(
    left: np.ndarray, right: np.ndarray, own: np.ndarray, other: np.ndarray, distance: int, within: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for up in range(0, len(own), _BLOCK):
        for across in range(up if within else 0, len(other), _BLOCK):
            rows, columns = own[up : up + _BLOCK], other[across : across + _BLOCK]
            apart = _ones(left[rows, None] ^ right[None, columns])  # [R, C]
            first, second = np.nonzero(apart <= distance)
            places = rows[first], columns[second]
            other_one = places[0] != places[1]
            yield (places[0][other_one], places[1][other_one]) if within else places


def _ones(words: np.ndarray) -> np.ndarray:
    """Population count of uint64."""
    pairs = words - ((words >> np.uint64(1)) & np.uint64(0x5555555555555555))
    fours = (pairs & np.uint64(0x3333333333333333)) + (
        (pairs >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    bytes_ = (fours + (fours >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bytes_ * np.uint64(0x0101010101010101)) >> np.uint64(56)
