"""Vectors of texts from pairs and triplets: what belongs together comes near (arXiv 1908.10084)."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from xfm.config.task import TaskConfig
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import SENTENCE_SIMILARITY
from xfm.data.collate import identity
from xfm.data.schema import TensorFields, Tokens
from xfm.data.tables import TableRow
from xfm.metrics.recalls import rank_chances, rank_scores, ranks_of_best_positive
from xfm.models.precision import autocast
from xfm.models.task_models import TaskModel
from xfm.objectives.losses import Losses
from xfm.objectives.retrieval import text_ranking_losses
from xfm.tasks.base import RowScores, Task
from xfm.tasks.rows import Case, CellMeaning, MatchedTexts, SplitRows
from xfm.training import distributed
from xfm.training.collectives import gather_rows, own_part, rows_before

MOST_NEGATIVES = 256
"""Of a row."""
BLOCK = 2 << 20
"""Scores of a block of anchors."""
Scores = Callable[[slice], NDArray[np.floating]]
"""Some anchors -> [B, C] scores of all candidates, larger for nearer ones."""


@dataclass(frozen=True)
class Nearest:
    """Rank of the best right text from 0, cosine of the row's positive, and the first candidate."""

    rank: int
    score: float
    best: str


@dataclass(frozen=True)
class TextSearch:
    """R anchors and C distinct candidates: right [R, C] bool (also of equal anchors), own [R] int64 the row's
    positive, itself [R] int64 the anchor's own text, passed over (-1: none)."""

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
        right = csr_array((ones, columns, ends), shape=(len(rows), len(places)))
        positive = np.array([places[row.positive] for row in rows], dtype=np.int64)
        anchors, alone = [row.anchor for row in rows], np.array(itself, dtype=np.int64)
        return cls(anchors, list(places), right, positive, alone)

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


@dataclass(frozen=True)
class SimilarityBatch(TensorFields):
    """anchors [R, T]; candidates [R + N, T], positives first, then negatives; identities [R] and [R + N]
    int64 of equal texts."""

    anchors: Tokens
    candidates: Tokens
    anchor_identity: Tensor
    candidate_identity: Tensor


class SentenceSimilarityTask(Task[MatchedTexts, SimilarityBatch, Nearest]):
    """The text that belongs to an anchor, told from positives and negatives of all rows in the batch but
    other right ones."""

    spec: ClassVar[TaskSpec] = SENTENCE_SIMILARITY
    primary: ClassVar[str] = "mrr10"
    in_parts: ClassVar[bool] = False
    module: TaskModel

    def described(self, data: SplitRows[MatchedTexts], **more: Any) -> TaskConfig:
        return super().described(data, dimensions=tuple(self.settings.dimensions), **more)

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> MatchedTexts:
        negatives = tuple(row.texts("negative")) if row.has("negative") else ()
        if len(negatives) > MOST_NEGATIVES:  # all of a batch are encoded at once
            raise row.error("negative", f"has {len(negatives)} texts, more than {MOST_NEGATIVES}")
        anchor, positive = row.text("anchor"), row.text("positive")
        if positive in negatives:
            raise row.error("negative", "holds the text of the column that it belongs to: it is the positive")
        return MatchedTexts(anchor, positive, negatives)

    @classmethod
    def texts_of(cls, row: MatchedTexts) -> tuple[str, ...]:
        return (row.anchor, row.positive, *row.negatives)

    @classmethod
    def together(cls, row: MatchedTexts) -> tuple[Hashable, ...]:
        """Rows of one anchor, or of one positive, say the same in two splits."""
        return (row.anchor, row.positive)

    @classmethod
    def shared(cls, row: MatchedTexts) -> tuple[Hashable, ...]:
        """Likewise."""
        return cls.together(row)

    def collate(self, rows: Sequence[MatchedTexts]) -> SimilarityBatch:
        """Tokens and identities, which depend on the text alone: each process sees other rows."""
        anchors = [row.anchor for row in rows]
        candidates = [row.positive for row in rows] + [text for row in rows for text in row.negatives]
        said = (
            torch.tensor([identity(text.encode("utf-8", "surrogatepass")) for text in own])
            for own in (anchors, candidates)
        )
        return SimilarityBatch(self.encode(anchors), self.encode(candidates), *said)

    def loss(self, batch: SimilarityBatch, generator: torch.Generator) -> Losses:
        """The contrast over the batches of all processes."""
        model = self.module.model
        model.clamp_temperature()
        anchors = model.embed_text(batch.anchors.ids, batch.anchors.mask)
        candidates = model.embed_text(batch.candidates.ids, batch.candidates.mask)
        told = (batch.anchor_identity, batch.candidate_identity), model.temperature, gather_rows
        before, sizes = rows_before(batch.candidate_identity), self.settings.dimensions
        found = text_ranking_losses(anchors, candidates, *told, before, sizes)
        return Losses(found.losses["ranking"], found.losses, found.metrics)

    def predict(self, rows: Sequence[MatchedTexts], batch_size: int = 256) -> list[Nearest]:
        """Ranks among the candidates of all rows; each process encodes a part."""
        search = TextSearch.of(rows)
        texts = list(dict.fromkeys([*search.anchors, *search.candidates]))
        places = {text: place for place, text in enumerate(texts)}
        model, device = self.module.model, self.settings.device
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        starts = range(0, len(order), batch_size)  # the same batches, whoever encodes them
        found = [np.zeros((0, model.config.projection), dtype=np.float32)]
        with self.predicting():
            for start in starts[own_part(len(starts))]:
                tokens = self.encode([texts[place] for place in order[start : start + batch_size]]).to(device)
                with autocast(self.settings.precision, device):
                    found.append(model.embed_text(tokens.ids, tokens.mask).cpu().numpy())
        vectors = np.empty((len(texts), model.config.projection), dtype=np.float32)
        vectors[order] = np.concatenate(distributed.collect(np.concatenate(found)))
        anchors = vectors[[places[text] for text in search.anchors]]
        candidates = vectors[[places[text] for text in search.candidates]].T
        return distributed.on_first(lambda: search.ranked(lambda block: anchors[block] @ candidates))

    def row_scores(self, rows: Sequence[MatchedTexts], predictions: Sequence[Nearest]) -> RowScores:
        return rank_scores(np.array([one.rank for one in predictions]))

    def known_chance(self, rows: Sequence[MatchedTexts]) -> dict[str, float]:
        return TextSearch.of(rows).chances()

    def case(self, row: MatchedTexts, prediction: Nearest) -> Case:
        rank = prediction.rank
        texts = (("anchor", row.anchor), ("rank of the right text", str(rank + 1)))
        return Case(row.positive, prediction.best, rank == 0, float(rank), texts)
