"""Samples of one step -> the tensors of schema.py."""

import hashlib
import math
import struct
from array import array
from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.config.data import TokenMaskConfig
from xfm.data.masking import IGNORED, mask_tokens, maskable
from xfm.data.schema import MaskedTokens, Tokens
from xfm.data.tokenizer import Tokenizer, filled, padded
from xfm.data.transforms import Box

LENGTH_STEP = 8
"""Texts are padded to a multiple of this many tokens: kernels are built per shape, so few should occur."""
_TOLERANCE = 1e-6  # of a patch: scaling a box must not make it touch one more
TextRow = tuple[str, np.random.Generator]
"""One text to tokenise and mask, and the generator that masks it."""


def identity(*parts: bytes) -> int:
    """A 64-bit identity of some bytes, the same in every process (so that ranks can compare theirs)."""
    digest = hashlib.blake2b(b"".join(parts), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


DETERMINERS = frozenset({"a", "an", "the"})


def text_identity(text: str) -> int:
    """Identity of what a normalised text names. Texts that differ in determiners alone ("the cat", "a cat",
    "cat") fit each other's images, so that neither is a negative; a text of determiners alone is itself."""
    words = [word for word in text.split() if word not in DETERMINERS] or [text]
    return identity(" ".join(words).encode("utf-8", "surrogatepass"))


def box_identity(picture: int, box: Box) -> int:
    """Identity of (picture, box); the box in pixels of the stored picture."""
    return identity(struct.pack("<q4d", picture, *box))


MOST_TOKENS = 1 << 21
"""Tokens that are cached: with what is around them, of short texts some 50 MB in a process."""
TokenText = tuple[list[int], list[tuple[int, int]]]
"""Token ids [T], special ones included, and first position and end of every maskable word."""


class TokenCache:
    """Token cache of a process, of at most `room` tokens; what no longer fits is tokenised each time."""

    def __init__(self, tokenizer: Tokenizer, room: int = MOST_TOKENS) -> None:
        self.tokenizer = tokenizer
        self._room = room
        # Ids, and words as first, end, first, end, ...: a sixth of the memory of lists.
        self._kept: dict[tuple[str, int, bool], tuple[array, array]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, texts: Sequence[str], max_tokens: int, whole_word: bool) -> list[TokenText]:
        """The texts as at most `max_tokens` tokens each, new ones in one call of the tokenizer."""
        keys = [(text, max_tokens, whole_word) for text in texts]
        new = dict.fromkeys(key for key in keys if key not in self._kept)
        encoded = self.tokenizer.encode_lists([text for text, _, _ in new], max_tokens) if new else []
        read: dict[tuple[str, int, bool], tuple[array, array]] = {}
        for key, (ids, word_ids) in zip(new, encoded, strict=True):
            words = chain.from_iterable(maskable(ids, word_ids, whole_word, self.tokenizer))
            read[key] = array("i", ids), array("i", words)
            if len(ids) <= self._room:
                self._room -= len(ids)
                self._kept[key] = read[key]
        found = (read.get(key) or self._kept[key] for key in keys)
        return [(ids.tolist(), [*zip(words[::2], words[1::2], strict=True)]) for ids, words in found]


def collate_tokens(
    rows: Sequence[TextRow], config: TokenMaskConfig, known: TokenCache
) -> tuple[Tokens, MaskedTokens]:
    """Tokenise, mask each row with its own generator, pad: Tokens [R, T] and their masked copies with M = the
    most masks in a row; T is a multiple of `LENGTH_STEP`, or the longest text allowed."""
    tokenizer = known.tokenizer
    read = known.read([text for text, _ in rows], config.max_tokens, config.whole_word)
    drawn = zip(rows, read, strict=True)
    masked = [mask_tokens(rng, ids, words, config, tokenizer) for (_, rng), (ids, words) in drawn]
    texts, positions = [ids for ids, _ in read], [own for _, own, _ in masked]
    longest = max(map(len, texts), default=1)
    real = filled(texts, min(round_up(longest, LENGTH_STEP), max(config.max_tokens, longest)))
    chosen = filled(positions, max([1, *map(len, positions)]))
    tokens = Tokens(padded(texts, real, tokenizer.pad), torch.from_numpy(real))
    return tokens, MaskedTokens(
        ids=padded([ids for ids, _, _ in masked], real, tokenizer.pad),
        positions=padded(positions, chosen, 0),
        labels=padded([labels for _, _, labels in masked], chosen, IGNORED),
        places=torch.from_numpy(np.flatnonzero(chosen)),
    )


def stack_pixels(pictures: Sequence[Tensor]) -> Tensor:
    """[3, S, S] uint8 each -> [B, 3, S, S] uint8, contiguous."""
    stacked = torch.empty((len(pictures), *pictures[0].shape), dtype=torch.uint8)
    return torch.stack([*pictures], out=stacked)


def patch_span(start: float, length: float, patch: int, grid: int) -> tuple[int, int]:
    """First patch and end (exclusive) that start..start + length px touches: at least one, in the grid."""
    first = min(max(math.floor(start / patch + _TOLERANCE), 0), grid - 1)
    return first, min(max(math.ceil((start + length) / patch - _TOLERANCE), first + 1), grid)


def visible_patches(boxes: Sequence[Box | None], patch: int, grid: int) -> Tensor:
    """[R, grid * grid] bool: patches that a box (left, top, width, height in pixels) touches; None: all."""
    visible = np.zeros((len(boxes), grid, grid), dtype=bool)
    for row, box in zip(visible, boxes, strict=True):
        if box is None:
            row[...] = True
            continue
        left, right = patch_span(box[0], box[2], patch, grid)
        top, bottom = patch_span(box[1], box[3], patch, grid)
        row[top:bottom, left:right] = True
    return torch.from_numpy(visible.reshape(len(boxes), grid * grid))


def box_targets(boxes: Sequence[Box | None], size: int) -> Tensor:
    """Boxes (left, top, width, height in pixels; None: all) as [R, 4] float32 (cx, cy, w, h) fractions."""
    whole = (0.0, 0.0, float(size), float(size))
    data = torch.tensor([box or whole for box in boxes], dtype=torch.float64).reshape(-1, 4)
    data[:, :2] += data[:, 2:] / 2
    return (data / size).float()


def round_up(count: int, step: int) -> int:
    """The smallest multiple of `step` that is at least `count`."""
    return -(-count // step) * step


def padded_tokens(encoded: Tokens, tokenizer: Tokenizer, step: int = LENGTH_STEP) -> Tokens:
    """Tokens of a batch [R, T] with T rounded up to a multiple of `step`."""
    extra = round_up(encoded.ids.shape[1], step) - encoded.ids.shape[1]
    return Tokens(F.pad(encoded.ids, (0, extra), value=tokenizer.pad), F.pad(encoded.mask, (0, extra)))
