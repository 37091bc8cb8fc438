"""Retrieval between pictures and captions: ITC with several positives, ITM with hard negatives (spec)."""

from collections.abc import Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import RETRIEVAL
from xfm.core.errors import UserError
from xfm.data.collate import text_identity
from xfm.data.schema import TensorFields, Tokens
from xfm.data.tokenizer import normalise_caption
from xfm.metrics import recalls
from xfm.models.features import Encoder, encode_images, encode_texts
from xfm.models.folder import Pretrained
from xfm.models.task_models import TaskModel
from xfm.objectives.losses import Losses
from xfm.objectives.retrieval import retrieval_losses
from xfm.tasks.base import RowScores
from xfm.tasks.captioning import DescribedTask
from xfm.tasks.images import read_ahead
from xfm.tasks.ranking import rank
from xfm.tasks.rows import Case, ImageCaptions
from xfm.tasks.sampling import alike_groups
from xfm.training.collectives import gather_rows, rows_before

RULES = (recalls.Rule.CONTRAST, recalls.Rule.RERANK)
SHORTLIST = 16
"""Candidates of each query that the matching head ranks again."""
BATCH, ALIKE = 64, 4
"""Inputs of a pass; and how many times more captions are near one another than drawn together."""


@dataclass(frozen=True)
class RetrievalBatch(TensorFields):
    """pixels [B, 3, S, S] float32, tokens [B, T]; identities [B] int64, equal for equal pictures or
    captions."""

    pixels: Tensor
    tokens: Tokens
    identity: Tensor
    text_identity: Tensor


@dataclass(frozen=True)
class Ranks:
    """Ranks, from 0, of a picture's best caption and of the picture for each caption, by contrast and re-
    ranked; and the first of each."""

    text: int
    image: tuple[int, ...]
    text_reranked: int
    image_reranked: tuple[int, ...]
    best_text: str
    best_image: Path


class RetrievalTask(DescribedTask[RetrievalBatch, Ranks]):
    """Retrieval in both directions. Captions of one picture, and pictures of one caption, are positives of
    one another; official rows keep the official rule, a picture's own captions alone."""

    spec: ClassVar[TaskSpec] = RETRIEVAL
    primary: ClassVar[str] = "mean_r1_rerank"
    in_parts: ClassVar[bool] = False
    module: TaskModel

    def __init__(self, pretrained: Pretrained, *given: Any) -> None:
        super().__init__(pretrained, *given)
        if count := self.settings.hard_negatives:  # now: a run that goes on has other weights by then
            most = min(self.settings.batch_size, (len(self.cases) - 1) // ALIKE)
            if not 2 <= count <= most:
                raise UserError(f"hard_negatives is {count}: choose 0, or 2 and more, here {most} at most")
            encoder = self._encoder(BATCH)
            captions = [row.captions[0] for row in self.cases]
            with self.predicting():
                vectors = encode_texts(encoder, captions, self.settings.max_tokens).vectors
            self._alike = alike_groups(vectors.numpy(), ALIKE * count).tolist()

    def _encoder(self, batch_size: int) -> Encoder:
        settings, device = self.settings, torch.device(self.settings.device)
        return Encoder(self.module.model, self.tokenizer, settings.precision, device, batch_size)

    def groups(self, cases: Sequence[ImageCaptions]) -> tuple[Sequence[Hashable], int]:
        """With `hard_negatives` so many captions that are near one another for the starting model."""
        count = self.settings.hard_negatives
        return (self._alike, count) if count else super().groups(cases)

    def collate(self, rows: Sequence[ImageCaptions]) -> RetrievalBatch:
        """The first caption of each row; identities depend on path and text alone, as each process sees other
        rows."""
        texts = [row.captions[0] for row in rows]
        identity = torch.tensor([text_identity(str(row.image)) for row in rows])
        said = torch.tensor([text_identity(self.as_read(text)) for text in texts])
        pixels, tokens = self.pictures.pixels([row.image for row in rows]), self.encode(texts)
        return RetrievalBatch(pixels, tokens, identity, identity if is_official(rows) else said)

    def loss(self, batch: RetrievalBatch, generator: torch.Generator) -> Losses:
        """ITC plus ITM over the batches of all processes, which draw the same negatives."""
        model, first = self.module.model, rows_before(batch.identity)
        pairs = batch.pixels, batch.tokens, batch.identity
        found = retrieval_losses(model, *pairs, generator, gather_rows, batch.text_identity, first)
        total = torch.stack(list(found.losses.values())).sum()
        return Losses(total, found.losses, found.metrics)

    def predict(self, rows: Sequence[ImageCaptions], batch_size: int = BATCH) -> list[Ranks]:
        """Ranks among all rows; merge rows of one picture first. Every process encodes all, and matches a
        part."""
        settings, encoder = self.settings, self._encoder(batch_size)
        captions = [caption for row in rows for caption in row.captions]
        parts = [[row.image for row in rows[at : at + batch_size]] for at in range(0, len(rows), batch_size)]
        read = read_ahead(self.pictures.pixels, parts, self.pictures, settings.workers)
        scratch = Path(gettempdir())  # states of many rows do not fit into memory
        with closing(read), self.predicting():
            images = encode_images(encoder, read, len(rows), scratch)
            texts = encode_texts(encoder, captions, settings.max_tokens, scratch)
            text, image = rank(encoder, images, texts, right_pairs(rows), SHORTLIST)
        plain, reranked = ((text.ranks[rule].tolist(), image.ranks[rule].tolist()) for rule in RULES)
        found, first = [], 0
        for place, row in enumerate(rows):
            own = slice(first, first + len(row.captions))
            first += len(row.captions)
            best = captions[text.order[place, 0]], rows[image.order[own.start, 0]].image
            ranks = plain[0][place], tuple(plain[1][own]), reranked[0][place], tuple(reranked[1][own])
            found.append(Ranks(*ranks, *best))
        return found

    def metrics(self, rows: Sequence[ImageCaptions], predictions: Sequence[Ranks]) -> dict[str, float]:
        """R@1/5/10 both ways, by contrast and re-ranked, and the means of both directions' R@1."""
        text = ([one.text for one in predictions], [one.text_reranked for one in predictions])
        image = ([one.image for one in predictions], [one.image_reranked for one in predictions])
        return recalls.tuned_recalls(
            dict(zip(RULES, map(np.array, text), strict=True)),
            dict(zip(RULES, map(np.concatenate, image), strict=True)),
        )

    def known_chance(self, rows: Sequence[ImageCaptions]) -> dict[str, float]:
        return recalls.tuned_chance(right_pairs(rows), RULES)

    def row_scores(self, rows: Sequence[ImageCaptions], predictions: Sequence[Ranks]) -> RowScores:
        text = [one.text_reranked for one in predictions]
        return {self.primary: recalls.first_hits(text, [one.image_reranked for one in predictions])}

    def counts(self, rows: Sequence[ImageCaptions]) -> dict[str, int]:
        captions = sum(len(row.captions) for row in rows)
        return {f"image_r{k}{suffix}": captions for k in recalls.CUTOFFS for suffix in ("", "_rerank")}

    def case(self, row: ImageCaptions, prediction: Ranks) -> Case:
        worst = max(prediction.text_reranked, *prediction.image_reranked)
        texts = (("rank of the right caption", str(prediction.text_reranked + 1)),)
        pictures = tuple(dict.fromkeys((row.image, prediction.best_image)))
        return Case(row.captions[0], prediction.best_text, worst == 0, float(worst), texts, pictures)


def is_official(rows: Sequence[ImageCaptions]) -> bool:
    """Whether the rows are those of official files, which have keys."""
    return any(row.key is not None for row in rows)


def right_pairs(rows: Sequence[ImageCaptions]) -> csr_array:
    """[I, R] bool: a caption is right for pictures with an equal normalised caption; of official rows for its
    own alone."""
    if is_official(rows):
        return recalls.own_captions(owners(rows), len(rows))
    captions = [normalise_caption(caption) for row in rows for caption in row.captions]
    return recalls.with_equal_captions(owners(rows), captions, len(rows))


def owners(rows: Sequence[ImageCaptions]) -> NDArray[np.int64]:
    """[R] the row of each caption."""
    return np.repeat(np.arange(len(rows)), [len(row.captions) for row in rows])
