"""Pictures re-encoded on request, and a perceptual hash that finds near-duplicates."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from xfm.data.image_formats import BROKEN, Header, PictureFormat, open_with_pillow
from xfm.data.images import decode

QUALITY = 90
"""Of what is shrunk, where nobody said."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Recoding:
    """Longest side in pixels (0: any), and JPEG quality for all pictures (None: only shrunk ones)."""

    max_side: int = 0
    quality: int | None = None

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the picture that is written."""
        longer = max(width, height)
        if not self.max_side or longer <= self.max_side:
            return width, height
        share = self.max_side / longer
        return max(1, round(width * share)), max(1, round(height * share))

    def touches(self, width: int, height: int) -> bool:
        """Whether a picture of this size is encoded anew."""
        return self.quality is not None or self.target(width, height) != (width, height)

    def encoded(self, data: bytes, header: Header) -> bytes:
        """The upright picture as a baseline JPEG without metadata."""
        size = self.target(header.width, header.height)
        picture = loaded(data, header, size)
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=QUALITY if self.quality is None else self.quality)
        return written.getvalue()


def loaded(data: bytes, header: Header, size: tuple[int, int]) -> Image.Image:
    """An upright RGB picture of at least a size; PictureError if undecodable."""
    found = drafted(data, header, size)
    return Image.fromarray(decode(data).permute(1, 2, 0).contiguous().numpy()) if found is None else found


def drafted(data: bytes, header: Header, size: tuple[int, int]) -> Image.Image | None:
    """The same of a complete JPEG, at the smallest scale; None of others."""
    if header.format is not PictureFormat.JPEG or header.mode not in ("RGB", "L"):
        return None
    try:
        picture = open_with_pillow(data, header.format)
        assert isinstance(picture, JpegImageFile)
        picture.draft(None, size if header.orientation < 5 else (size[1], size[0]))
        picture.load()
    except BROKEN:
        return None
    shown = picture if picture.mode == "RGB" else picture.convert("RGB")
    turn = _TURNS.get(header.orientation)
    return shown if turn is None else shown.transpose(turn)


BITS = 64
_SIDE, _LOW = 32, 8
_BLOCK = 2048
"""Hashes that are compared with as many others at once."""


def perceptual_hash(data: bytes, header: Header) -> int:
    """64-bit hash of an upright picture; PictureError where it does not decode."""
    return hash_of(loaded(data, header, (2 * _SIDE, 2 * _SIDE)))


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
