"""Visual question answering: question fused with the picture -> causal decoder (spec: VQA v2)."""

import copy
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from xfm.data.schema import TensorFields, Tokens
from xfm.data.tokenizer import normalise_caption
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import Answerer
from xfm.objectives.losses import Losses
from xfm.objectives.sequences import sequence_losses
from xfm.tasks.answers import AnswerList, rank_answers
from xfm.tasks.base import Blanked, Task, TaskSettings, seeded
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import Question, read_questions
from xfm.tasks.shapes import padded_tokens

ANSWER_STEP = 4  # answers are short: padding them to a multiple of eight would double them


@dataclass(frozen=True)
class VqaBatch(TensorFields):
    """Questions about pictures.

    Attributes:
        pixels: [I, 3, S, S] float32 distinct pictures.
        image_index: [R] int64, the picture of each question.
        question: [R, T] tokens.
        answer: [R, L] tokens with begin and end.
    """

    pixels: Tensor
    image_index: Tensor
    question: Tokens
    answer: Tokens


class VqaTask(Task[Question, VqaBatch, str]):
    """Answers questions from the list of answers that its training rows hold.

    The baseline blanks the picture: the same training sees one grey picture.
    """

    name: ClassVar[str] = "vqa"
    columns: ClassVar[tuple[str, ...]] = ("image", "question", "answer", "kind")
    primary: ClassVar[str] = "accuracy"
    blankable: ClassVar[frozenset[Blanked]] = frozenset({Blanked.PICTURE})

    def __init__(
        self, pretrained: Pretrained, pictures: Pictures, train: Sequence[Question], settings: TaskSettings
    ) -> None:
        super().__init__(settings, train)
        self.tokenizer, self.pictures = pretrained.tokenizer, pictures
        counts = Counter(normalise_caption(row.answer) for row in train)
        self.answers = AnswerList([answer for answer, _ in counts.most_common()], self.tokenizer)
        self.answers.to(settings.device)
        with seeded(settings.seed):
            self._module = Answerer(copy.deepcopy(pretrained.model)).to(settings.device)

    @property
    def module(self) -> Answerer:
        """What is trained."""
        return self._module

    @classmethod
    def read(cls, path: Path) -> list[Question]:
        """Rows `{"image", "question", "answer", "kind"}`."""
        return read_questions(path)

    def group(self, row: Question) -> Hashable:
        """Questions about one picture belong together (in the baseline too: it sees the same batches)."""
        return row.image

    def is_new(self, name: str) -> bool:
        """The decoder counts as new: it starts from fusion's weights, but has never written an answer."""
        return name.startswith("decoder.")

    def collate(self, rows: Sequence[Question]) -> VqaBatch:
        """Pictures, questions and answers of the rows."""
        if self.settings.blanked is Blanked.PICTURE:
            pixels, index = self.pictures.blank(len(rows))
        else:
            pixels, index = self.pictures.distinct([row.image for row in rows])
        limit = self.settings.max_tokens
        question = self.tokenizer.encode_batch([normalise_caption(row.question) for row in rows], limit)
        answer = self.tokenizer.encode_batch([normalise_caption(row.answer) for row in rows], limit)
        return VqaBatch(
            pixels,
            index,
            padded_tokens(question, self.tokenizer),
            padded_tokens(answer, self.tokenizer, ANSWER_STEP),
        )

    def loss(self, batch: VqaBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy of the answer's tokens, summed over an answer, averaged over the questions."""
        without_last = Tokens(batch.answer.ids[:, :-1], batch.answer.mask[:, :-1])
        module = self.module
        logits = module(
            batch.pixels, batch.question, without_last, batch.image_index
        ).float()  # [R, L - 1, V]
        target, mask = batch.answer.ids[:, 1:], batch.answer.mask[:, 1:]
        loss = sequence_losses(logits, batch.answer).mean()
        right = ((logits.detach().argmax(-1) == target) | ~mask).all(dim=1).float().mean()
        return Losses(total=loss, parts={"answer": loss}, metrics={"answer_right": right})

    def predict_batch(self, batch: VqaBatch) -> list[str]:
        """The likeliest answer of the list for each question."""
        memory = self.module.fuse(batch.pixels, batch.question, batch.image_index)
        best = rank_answers(self.module.decoder, self.answers, memory, batch.question.mask)
        return [self.answers.answers[place] for place in best.index.tolist()]

    def metrics(self, rows: Sequence[Question], predictions: Sequence[str]) -> dict[str, float]:
        """Accuracy over all questions, and `accuracy_<kind>` for each kind."""
        right: dict[str, list[bool]] = defaultdict(list)
        for row, predicted in zip(rows, predictions, strict=True):
            right[row.kind].append(is_right(row, predicted))
        everything = [value for values in right.values() for value in values]
        scores = {"accuracy": sum(everything) / len(everything)}
        return scores | {f"accuracy_{kind_key(kind)}": sum(v) / len(v) for kind, v in sorted(right.items())}


def is_right(row: Question, predicted: str) -> bool:
    """Whether the predicted answer is the row's, both normalised as captions are."""
    return normalise_caption(predicted) == normalise_caption(row.answer)


def kind_key(kind: str) -> str:
    """A kind of question as part of a metric's name: `how many` -> `how_many`."""
    return "".join(sign if sign.isalnum() else "_" for sign in kind.lower())
