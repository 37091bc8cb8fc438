"""Texts in classes of like length, by what an index knows (bytes) and what a few of them have (tokens)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xfm.data.collate import LENGTH_STEP
from xfm.data.records import BadRecordError
from xfm.data.schema import TextSample
from xfm.data.sources.base import RecordSource
from xfm.data.tokenizer import Tokenizer
from xfm.errors import UserError

_LEAST = 64
"""A class has at least the 64th part of the texts, so that some of those that are tokenised are of it."""
_BATCHES = 8
"""Batches that a class has at least, if there are so many: shared evenly, each is then about full."""
_STRETCHES, _NEIGHBOURS = 64, 32
"""Texts that are tokenised: neighbours, which one read gives, from all parts of the corpus."""
_AT_ONCE = 1 << 16
_LEVELS, _GROWTH = 256, math.log(1.05)
"""Sizes are told apart to a twentieth, up to 250 kB, in a byte a record."""


@dataclass(frozen=True, eq=False)
class LengthClasses:
    """The texts of a corpus in classes, from short to long.

    Attributes:
        of: [N] uint8, the class of every record; every class has one.
        longest: tokens that a text of each class has at most; what a text has more is cut.
    """

    of: np.ndarray
    longest: Sequence[int]


def length_classes(
    source: RecordSource, tokenizer: Tokenizer, max_tokens: int, budget: int
) -> LengthClasses:
    """Sort the texts of a corpus by how many bytes they take.

    How many tokens the texts of a class have is found out from some two thousand texts. Where bytes say
    little about tokens, the classes are few, and as long as texts may be.

    Args:
        source: the corpus.
        tokenizer: the vocabulary.
        max_tokens: longest text in tokens.
        budget: tokens of a batch.

    Raises:
        UserError: the index of the corpus cannot be read.
    """
    levels = _levels(source)
    sampled, tokens = _sample(source, tokenizer, max_tokens)
    most = np.zeros(_LEVELS, np.int64)
    np.maximum.at(most, levels[sampled], np.minimum(-(-tokens // LENGTH_STEP) * LENGTH_STEP, max_tokens))
    of_level, longest = _classes(np.bincount(levels, minlength=_LEVELS), most, budget)
    return LengthClasses(of_level[levels], [one or max_tokens for one in longest])


def _classes(texts: np.ndarray, most: np.ndarray, budget: int) -> tuple[np.ndarray, list[int]]:
    """Levels that follow one another, joined until texts become longer and a class is large enough.

    Args:
        texts: [L] of each level.
        most: [L] tokens of the longest of them that was seen, 0 where none was.
        budget: tokens of a batch.

    Returns:
        [L] uint8, the class of each level; and of each class the tokens of its longest text.
    """
    least, found, longest, inside = texts.sum() / _LEAST, np.zeros(len(texts), np.uint8), [0], 0
    for level in np.flatnonzero(texts).tolist():
        longer = int(most[level]) > longest[-1]
        if longer and inside >= least and inside * longest[-1] >= _BATCHES * budget:
            longest.append(0)
            inside = 0
        longest[-1] = max(longest[-1], int(most[level]))
        found[level] = len(longest) - 1
        inside += int(texts[level])
    if len(longest) > 1 and (inside < least or inside * longest[-1] < _BATCHES * budget):
        last = longest.pop()
        found[found == len(longest)] = len(longest) - 1
        longest[-1] = max(longest[-1], last)
    return found, longest


def _levels(source: RecordSource) -> np.ndarray:
    """[N] uint8, which grows with the logarithm of the bytes of each record."""
    found = np.empty(len(source), np.uint8)
    for first in range(0, len(source), _AT_ONCE):
        stop = min(first + _AT_ONCE, len(source))
        try:
            size = source.text_bytes(first, stop)
        except OSError as error:
            raise UserError(
                f"the index of a corpus of data.text cannot be read ({error.strerror}); check its disk, or "
                "write it again with `xfm data index`"
            ) from error
        level = np.log(np.maximum(size, 1)) / _GROWTH
        found[first:stop] = np.minimum(level, _LEVELS - 1).astype(np.uint8)
    return found


def _sample(source: RecordSource, tokenizer: Tokenizer, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Some records that are good, and how many tokens each has: [M] int64 both."""
    last = max(0, len(source) - _NEIGHBOURS)
    starts = sorted({last * turn // (_STRETCHES - 1) for turn in range(_STRETCHES)})
    stretches = [range(start, min(start + _NEIGHBOURS, len(source))) for start in starts]
    for stretch in stretches if source.distant else ():
        source.expect(stretch.start, stretch.stop)
    texts: dict[int, str] = {}
    for index in sorted({index for stretch in stretches for index in stretch}):
        try:
            sample = source.read(index)
        except BadRecordError:
            continue
        if isinstance(sample, TextSample):
            texts[index] = sample.text
    encoded = tokenizer.encode_lists(list(texts.values()), max_tokens)
    counts = [len(ids) for ids, _ in encoded]
    return np.array(list(texts), np.int64), np.array(counts, np.int64)
