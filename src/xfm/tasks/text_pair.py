"""Two texts, one label (entailment, paraphrase): language token 0 -> MLP head (spec: fine-tuning, GLUE)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xfm.data.schema import TensorFields, Tokens
from xfm.evaluation.metrics import accuracy
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import TextClassifier
from xfm.objectives.losses import Losses
from xfm.tasks.base import Blanked, Task, TaskSettings, classification_losses, seeded
from xfm.tasks.rows import TextPair, read_text_pairs
from xfm.tasks.shapes import padded_tokens


@dataclass(frozen=True)
class TextPairBatch(TensorFields):
    """Text pairs as one sequence each. `tokens` is [R, T]; `labels` is [R] int64, 1 for true."""

    tokens: Tokens
    labels: Tensor


class TextPairTask(Task[TextPair, TextPairBatch, bool]):
    """Does text a entail (or paraphrase) text b?

    The baseline blanks the first text: it sees `<s>b</s>` only, in the same training.
    """

    name: ClassVar[str] = "text pair"
    columns: ClassVar[tuple[str, ...]] = ("text_a", "text_b", "label")
    primary: ClassVar[str] = "accuracy"
    blankable: ClassVar[frozenset[Blanked]] = frozenset({Blanked.FIRST_TEXT})

    def __init__(self, pretrained: Pretrained, train: Sequence[TextPair], settings: TaskSettings) -> None:
        super().__init__(settings, train)
        self.tokenizer = pretrained.tokenizer
        with seeded(settings.seed):
            language = copy.deepcopy(pretrained.model.language)  # vision and fusion are left behind
            self._module = TextClassifier(language, 2).to(settings.device)

    @property
    def module(self) -> TextClassifier:
        """What is trained."""
        return self._module

    @classmethod
    def read(cls, path: Path) -> list[TextPair]:
        """Rows `{"text_a", "text_b", "label": true | false}`."""
        return read_text_pairs(path)

    def collate(self, rows: Sequence[TextPair]) -> TextPairBatch:
        """Tokens and labels of the rows."""
        limit = self.settings.max_tokens
        second = [row.text_b for row in rows]
        if self.settings.blanked is Blanked.FIRST_TEXT:
            encoded = self.tokenizer.encode_batch(second, limit)
        else:
            encoded = self.tokenizer.encode_pairs([row.text_a for row in rows], second, limit)
        return TextPairBatch(
            padded_tokens(encoded, self.tokenizer), torch.tensor([int(row.label) for row in rows])
        )

    def loss(self, batch: TextPairBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy."""
        return classification_losses(self.module(batch.tokens), batch.labels)

    def predict_batch(self, batch: TextPairBatch) -> list[bool]:
        """True where the pair is judged to hold."""
        return self.module(batch.tokens).argmax(-1).bool().tolist()

    def metrics(self, rows: Sequence[TextPair], predictions: Sequence[bool]) -> dict[str, float]:
        """Accuracy."""
        return {"accuracy": accuracy(np.array(predictions), np.array([row.label for row in rows]))}
