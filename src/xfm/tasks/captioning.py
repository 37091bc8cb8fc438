"""Captioning: vision output -> causal decoder started from the fusion encoder (spec: COCO captions); and what
retrieval shares with it: pictures with captions, one pair of them a training row."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from xfm.config.inference import Generation
from xfm.config.task import TaskConfig
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import CAPTIONING
from xfm.core.files import file_digest
from xfm.data.collate import LENGTH_STEP, padded_tokens
from xfm.data.schema import TensorFields, Tokens
from xfm.data.tables import TableRow
from xfm.data.tokenizer import normalise_caption
from xfm.metrics.captions import best_word_f1, word_scores
from xfm.models.folder import Pretrained
from xfm.models.generation import SpecialTokens, generate
from xfm.models.task_models import Captioner
from xfm.objectives.losses import Losses, smoothed_losses
from xfm.tasks.base import HiddenInput, Prediction, RowScores, Task
from xfm.tasks.labelling import most_frequent_label
from xfm.tasks.rows import Case, CellMeaning, ImageCaptions, SplitRows

BatchT = TypeVar("BatchT", bound=TensorFields)
BEAMS = 3


class DescribedTask(Task[ImageCaptions, BatchT, Prediction]):
    """A task of pictures with captions: training draws pairs."""

    @property
    def cases(self) -> list[ImageCaptions]:
        return [ImageCaptions(row.image, (one,), row.key) for row in self.train_rows for one in row.captions]

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> ImageCaptions:
        return ImageCaptions(row.path("image"), tuple(row.texts("caption")))

    @classmethod
    def merge(cls, rows: Sequence[ImageCaptions]) -> list[ImageCaptions]:
        """One row a picture, with the captions of all its rows; files of equal bytes are one picture."""
        first = {row.image: row.image for row in rows}
        sizes: dict[int, list[Path]] = {}
        for path in first:
            with suppress(OSError):  # a file that cannot be read is like no other
                sizes.setdefault(path.stat().st_size, []).append(path)
        for same_size in sizes.values():
            known: dict[str, Path] = {}
            for path in same_size if len(same_size) > 1 else ():  # only what is as long can be equal
                with suppress(OSError):
                    first[path] = known.setdefault(file_digest(path), path)
        captions: dict[Path, list[str]] = {}
        for row in rows:
            captions.setdefault(first[row.image], []).extend(row.captions)
        return [ImageCaptions(image, tuple(dict.fromkeys(own))) for image, own in captions.items()]

    @classmethod
    def epoch(cls, rows: Sequence[ImageCaptions]) -> int:
        return sum(len(row.captions) for row in rows)

    @classmethod
    def texts_of(cls, row: ImageCaptions) -> tuple[str, ...]:
        return row.captions


@dataclass(frozen=True)
class CaptionBatch(TensorFields):
    """I distinct pixels [I, 3, S, S] float32, image_index [R] int64 and captions [R, L] tokens."""

    pixels: Tensor
    image_index: Tensor
    caption: Tokens


class CaptioningTask(DescribedTask[CaptionBatch, str]):
    """Captions of pictures; the baseline blanks the picture. `writing` says how captions are predicted,
    `prompt` what they go on from."""

    spec: ClassVar[TaskSpec] = CAPTIONING
    primary: ClassVar[str] = "word_f1"
    module: Captioner
    hides: ClassVar[Mapping[HiddenInput, str]] = {HiddenInput.PICTURE: "captions only"}

    def __init__(self, pretrained: Pretrained, *given: Any) -> None:
        super().__init__(pretrained, *given)
        if isinstance(pretrained.task, Captioner):  # it goes on with the decoder that it has
            self.module.decoder.load_state_dict(pretrained.task.decoder.state_dict())

    def prepare(self, data: SplitRows[ImageCaptions]) -> None:
        self.writing = Generation(max_tokens=self.settings.max_tokens, beams=BEAMS)
        self.prompt = normalise_caption(self.settings.prompt)
        self._marks = SpecialTokens.of(self.tokenizer, self.prompt)

    def described(self, data: SplitRows[ImageCaptions], **more: Any) -> TaskConfig:
        return super().described(data, prompt=self.prompt, **more)

    def collate(self, rows: Sequence[ImageCaptions]) -> CaptionBatch:
        pixels, index = self.shown(rows)
        said = [f"{self.prompt} {self.as_read(row.captions[0])}".strip() for row in rows]
        longest = self.settings.max_tokens + len(self._marks.prompt)
        encoded = self.tokenizer.encode_batch(said, longest)
        return CaptionBatch(pixels, index[:, 0], padded_tokens(encoded, self.tokenizer, LENGTH_STEP))

    def count(self, batch: CaptionBatch, rows: Sequence[ImageCaptions]) -> float:
        """Tokens, without those of the prompt."""
        return int(batch.caption.mask[:, 1 + len(self._marks.prompt) :].sum())

    def loss(self, batch: CaptionBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy of the next token with label smoothing, averaged over all tokens of the batch."""
        logits = self.module(batch.pixels, batch.caption, batch.image_index)
        smoothing, given = self.settings.label_smoothing, len(self._marks.prompt)
        loss, right = smoothed_losses(logits, batch.caption, smoothing, given)
        return Losses(total=loss, terms={"caption": loss}, metrics={"token_accuracy": right})

    def predict_batch(self, batch: CaptionBatch) -> list[str]:
        memory, seen = self.module.remember(self.module.encode_image(batch.pixels))
        written = generate(self.module.decoder, memory, seen, self._marks, self.writing)
        best = zip(written.ids[:, 0], written.mask[:, 0], strict=True)
        texts = [self.tokenizer.decode(ids[mask]) for ids, mask in best]
        return [texts[place].strip() for place in batch.image_index.tolist()]

    def row_scores(self, rows: Sequence[ImageCaptions], predictions: Sequence[str]) -> RowScores:
        return word_scores([row.captions for row in rows], predictions)

    def guess(self, rows: Sequence[ImageCaptions], rng: np.random.Generator) -> list[str]:
        captions = [caption for row in self.train_rows for caption in row.captions]
        return [normalise_caption(captions[place]) for place in rng.integers(len(captions), size=len(rows))]

    def constants(self, rows: Sequence[ImageCaptions]) -> dict[str, list[str]]:
        captions = [normalise_caption(caption) for row in self.train_rows for caption in row.captions]
        return {"most frequent caption": [most_frequent_label(captions)] * len(rows)}

    def case(self, row: ImageCaptions, prediction: str) -> Case:
        score = best_word_f1(row.captions, prediction)
        truth, texts = " / ".join(row.captions[:5]), (("words that agree", f"F1 {score:.2f}"),)
        return Case(truth, prediction, score >= 0.5, 1 - score, texts, (row.image,))
