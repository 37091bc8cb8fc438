"""Which of many texts belongs to a text: candidates of a split, what is right, and ranks by any scores."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xfm.metrics.recalls import rank_chances, ranks_of_best_positive
from xfm.tasks.rows import MatchedTexts

BLOCK = 2 << 20
"""Scores of a block of anchors."""
Scores = Callable[[slice], NDArray[np.floating]]
"""Some anchors -> [B, C] scores of all candidates, larger for nearer ones."""


@dataclass(frozen=True)
class Nearest:
    """Where the right text stands among the candidates of a split.

    Attributes:
        rank: of the best right one, from 0.
        score: of the row's own positive; a cosine where vectors are compared.
        best: the candidate that comes first.
    """

    rank: int
    score: float
    best: str


@dataclass(frozen=True)
class TextSearch:
    """Anchors, and the texts among which what belongs to them is looked for.

    Attributes:
        anchors: of R rows.
        candidates: C distinct texts: all positives of the rows, and all negatives.
        right: [R, C] bool: positives of the row, and of the rows with an equal anchor.
        own: [R] int64, the place of the row's own positive.
        itself: [R] int64, the place of a candidate that is the anchor's own text and none of its positives:
            it is passed over; -1 where there is none.
    """

    anchors: Sequence[str]
    candidates: Sequence[str]
    right: csr_array
    own: NDArray[np.int64]
    itself: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[MatchedTexts]) -> "TextSearch":
        """The search of the rows of a split."""
        texts = [row.positive for row in rows] + [text for row in rows for text in row.negatives]
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        positives: dict[str, dict[int, None]] = defaultdict(dict)
        for row in rows:
            positives[row.anchor][places[row.positive]] = None
        own = [list(positives[row.anchor]) for row in rows]
        ends = np.cumsum([0, *map(len, own)])
        columns = np.array([place for one in own for place in one], dtype=np.int64)
        ones = np.ones(len(columns), dtype=bool)
        itself = [
            -1 if (place := places.get(row.anchor, -1)) in right else place
            for row, right in zip(rows, own, strict=True)
        ]
        return cls(
            [row.anchor for row in rows],
            list(places),
            csr_array((ones, columns, ends), shape=(len(rows), len(places))),
            np.array([places[row.positive] for row in rows], dtype=np.int64),
            np.array(itself, dtype=np.int64),
        )

    def ranked(self, scores: Scores) -> list[Nearest]:
        """The outcome of each row, of scores that are asked for a block of anchors at a time."""
        found: list[Nearest] = []
        size = max(1, BLOCK // max(1, len(self.candidates)))
        for start in range(0, len(self.anchors), size):
            block = slice(start, min(start + size, len(self.anchors)))
            given = np.array(scores(block), dtype=np.float64)  # [B, C]
            itself = self.itself[block]
            passed = np.flatnonzero(itself >= 0)
            given[passed, itself[passed]] = -np.inf
            ranks = ranks_of_best_positive(given, self.right[block].toarray())
            own = given[np.arange(len(given)), self.own[block]]
            best = given.argmax(axis=1)
            found += [
                Nearest(rank, score, self.candidates[int(place)])
                for rank, score, place in zip(ranks.tolist(), own.tolist(), best.tolist(), strict=True)
            ]
        return found

    def chances(self) -> dict[str, float]:
        """Recalls and MRR@10 of a random order."""
        counts = np.asarray(self.right.sum(axis=1)).ravel()
        return rank_chances(counts, len(self.candidates) - (self.itself >= 0))
