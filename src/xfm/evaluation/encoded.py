"""Pictures and captions of a retrieval split, encoded for every part that asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xfm.metrics.recalls import with_equal_captions
from xfm.modeling.features import EncodedItems
from xfm.tasks.rows import Captioned

KEPT = 1 << 28
"""Bytes of states that are kept at most for a part to come; what does not fit is encoded again."""


@dataclass(frozen=True)
class EncodedCaptions:
    """R captions and their I pictures.

    Attributes:
        rows: the captions with their pictures' paths.
        images: the I distinct pictures, in the order in which the rows name them.
        texts: the R captions.
        owner: [R] int64, the picture of each caption.
    """

    rows: Sequence[Captioned]
    images: EncodedItems
    texts: EncodedItems
    owner: NDArray[np.int64]

    @property
    def captions(self) -> list[str]:
        """The R captions."""
        return [row.caption for row in self.rows]

    def fits(self) -> csr_array:
        """[I, R] bool: the caption is the picture's own, or equal to one of its own."""
        return with_equal_captions(self.owner, self.captions, len(self.images))


@dataclass
class EncodedSplits:
    """Splits that were encoded, as long as there is room for them."""

    limit: int = KEPT
    _kept: dict[tuple[tuple[Path, str], ...], EncodedCaptions] = field(default_factory=dict)

    def find(self, rows: Sequence[Captioned]) -> EncodedCaptions | None:
        """These rows, if they were encoded and kept."""
        return self._kept.get(_key(rows))

    def keep(self, encoded: EncodedCaptions) -> None:
        """Keep a split if it fits beside the others."""
        splits = [*self._kept.values(), encoded]
        items = [items for split in splits for items in (split.images, split.texts)]
        if sum(one.states.bytes_in_memory for one in items) <= self.limit:
            self._kept[_key(encoded.rows)] = encoded


def _key(rows: Sequence[Captioned]) -> tuple[tuple[Path, str], ...]:
    return tuple((row.image, row.caption) for row in rows)
