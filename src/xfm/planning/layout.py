"""How texts lie in a step: how many tokens, and the parts in which they attend.

On a GPU every query has its padded text, several of which share a copy of their picture's keys and values. On
a CPU texts are packed, and all tokens that look at a picture lie in a row (`xfm.modeling.packing`,
`xfm.modeling.grouping`): how many do follows the draw of negatives, of which the expected numbers are taken
here.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from xfm.modeling.grids import LENGTHS, STEP, TOKENS_STEP, rounded
from xfm.planning.layers import Part
from xfm.planning.sizes import CaptionedSizes, TextSizes


def packed(count: float) -> float:
    """Packed tokens with the spare ones."""
    return rounded(max(1, math.ceil(count)), TOKENS_STEP)


def laid(lengths: Mapping[float, float], longest: float) -> list[tuple[float, float]]:
    """Rows and length of the parts into which rows of these lengths are sorted.

    Args:
        lengths: of each length, how many rows have it.
        longest: of all rows, those of other kinds included.
    """
    last, parts = rounded(math.ceil(longest), STEP), Counter[int]()
    for length, rows in lengths.items():
        parts[min([one for one in LENGTHS if one >= length] + [last])] += rows  # pyright: ignore
    return [(rounded(math.ceil(rows), STEP), min(length, last)) for length, rows in parts.items()]


def text_parts(texts: Iterable[TextSizes], fused: bool) -> tuple[float, list[Part]]:
    """Tokens, and the parts in which they attend to one another."""
    texts = [one for one in texts if one.rows]
    tokens = sum(one.rows * one.length for one in texts)
    if fused:
        return tokens, [(one.rows, one.length, one.length) for one in texts]
    lengths = Counter[float]()
    for one in texts:
        lengths[one.length] += one.rows
    parts = laid(lengths, max(lengths, default=1))
    return packed(tokens), [(rows, length, length) for rows, length in parts]


@dataclass(frozen=True)
class Looking:
    """Texts that look at the pictures of a source.

    Attributes:
        source: pairs or regions.
        keys: slots and patches of a picture.
        matching, filling, boxes: whether ITM, IMLM and BBP ask.
    """

    source: CaptionedSizes
    keys: int
    matching: bool
    filling: bool
    boxes: bool

    @property
    def queries(self) -> int:
        """Texts, each as often as it is asked about."""
        boxed = self.source.boxed if self.boxes else 0
        return self.source.texts.rows * (3 * self.matching + self.filling) + boxed

    @property
    def read(self) -> int:
        """Tokens whose states are wanted at the end."""
        texts, boxed = self.source.texts, self.source.boxed if self.boxes else 0
        return texts.rows * (3 * self.matching + texts.masked * self.filling) + boxed

    def _tokens(self, whole: bool) -> dict[float, float]:
        """Pictures by the tokens that look at them: whole texts, or what is read of them."""
        texts, each = self.source.texts, self.source.each
        token, filled = (texts.length, texts.length) if whole else (1, texts.masked)
        boxed = self.source.boxed / self.source.pictures if self.boxes else 0
        own = each * (2 * token * self.matching + filled * self.filling) + token * boxed
        if not self.matching:
            return {own: self.source.pictures}
        found, pictures = {}, self.source.pictures  # a negative falls on any picture: Poisson, mean `each`
        for drawn in range(int(each + 8 * math.sqrt(each) + 8)):
            expected = pictures * math.exp(-each + drawn * math.log(each) - math.lgamma(drawn + 1))
            if expected > 0.5 or drawn <= each:
                found[own + token * drawn] = expected
        return found

    @staticmethod
    def parts(sources: Sequence["Looking"], whole: bool) -> list[Part]:
        """The parts in which tokens look at pictures on a CPU: as many rows as pictures, about."""
        tokens = [one._tokens(whole) for one in sources]
        longest = max(max(found) for found in tokens)
        return [
            (rows, length, one.keys)
            for one, found in zip(sources, tokens, strict=True)
            for rows, length in laid(found, longest)
        ]
