"""Visual question answering: question fused with the picture -> causal decoder (spec: VQA v2)."""

import copy
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.task import TaskKind
from xfm.data.schema import TensorFields, Tokens
from xfm.data.shapes import padded_tokens
from xfm.data.tables import Field, TableRow
from xfm.data.tokenizer import normalise_caption
from xfm.metrics.vqa import by_type, voted_accuracy
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import Answerer
from xfm.objectives.losses import Losses
from xfm.objectives.sequences import sequence_losses
from xfm.tasks.answers import AnswerList, rank_answers
from xfm.tasks.base import Blanked, TaskSettings, seeded
from xfm.tasks.classes import most_frequent
from xfm.tasks.own import Case, OwnTask, Reading
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import Question
from xfm.tasks.splits import SplitRows

ANSWER_STEP = 4  # answers are short: padding them to a multiple of eight would double them


@dataclass(frozen=True)
class VqaBatch(TensorFields):
    """Questions about pictures.

    Attributes:
        pixels: [I, 3, S, S] float32 distinct pictures.
        image_index: [R] int64, the picture of each question.
        question: [R, T] tokens.
        answer: [N, L] tokens with begin and end.
        answer_question: [N] int64, the question of each answer; None where answer r is that of question r.
        weight: [N] float32, how much each answer counts; None where all count 1.
    """

    pixels: Tensor
    image_index: Tensor
    question: Tokens
    answer: Tokens
    answer_question: Tensor | None = None
    weight: Tensor | None = None


class VqaTask(OwnTask[Question, VqaBatch, str]):
    """Answers questions from the list of answers that its training rows hold, or from a given one.

    The baseline blanks the picture: the same training sees one grey picture.
    """

    name: ClassVar[str] = "vqa"
    kind: ClassVar[TaskKind] = TaskKind.VQA
    columns: ClassVar[tuple[str, ...]] = ("image", "question", "answer", "kind")
    fields: ClassVar[tuple[Field, ...]] = (
        Field("image", "path of the picture, or the picture itself"),
        Field("question", "the question"),
        Field("answer", "the answer, or a list with the answers of several people"),
        Field("kind", "groups the questions in the scores", optional=True),
    )
    primary: ClassVar[str] = "accuracy"
    blankable: ClassVar[frozenset[Blanked]] = frozenset({Blanked.PICTURE})

    def __init__(
        self,
        pretrained: Pretrained,
        pictures: Pictures,
        train: Sequence[Question],
        settings: TaskSettings,
        answers: Sequence[str] = (),
    ) -> None:
        super().__init__(settings, train)
        self.tokenizer, self.pictures = pretrained.tokenizer, pictures
        self.answers = AnswerList(answers or frequent_answers(train), self.tokenizer)
        self.answers.to(settings.device)
        with seeded(settings.seed):
            self._module = Answerer(copy.deepcopy(pretrained.model)).to(settings.device)
        self.describe(answers=self.answers.answers)

    @classmethod
    def build(
        cls, pretrained: Pretrained, pictures: Pictures, data: SplitRows[Question], settings: TaskSettings
    ) -> Self:
        """The task on a copy of the model."""
        return cls(pretrained, pictures, data.train, settings, data.answers)

    @property
    def module(self) -> Answerer:
        """What is trained."""
        return self._module

    @classmethod
    def from_row(cls, row: TableRow, reading: Reading) -> Question:
        """Fields `image`, `question`, `answer` and perhaps `kind`; an answer must have a letter or digit."""
        counts: Counter[str] = Counter()
        for answer, count in row.votes("answer").items():
            counts[normalise_caption(answer)] += count
        if "" in counts:
            raise row.error("answer", "has neither letters nor digits")
        votes = tuple((answer, count / counts.total()) for answer, count in counts.most_common())
        kind = row.text("kind") if row.has("kind") else "all"
        usual, several = most_frequent(list(counts.elements())), counts.total() > 1
        return Question(row.path("image"), row.text("question"), usual, kind, votes if several else ())

    @classmethod
    def pictures_of(cls, row: Question) -> tuple[Path, ...]:
        """The picture."""
        return (row.image,)

    @classmethod
    def texts_of(cls, row: Question) -> tuple[str, ...]:
        """Question and answer."""
        return (row.question, row.answer)

    @classmethod
    def answer_list(cls, rows: Sequence[Question], limit: int) -> tuple[str, ...]:
        """The most frequent answers."""
        return tuple(frequent_answers(rows, limit))

    @classmethod
    def single(cls, train: Sequence[Question]) -> dict[Blanked, str]:
        """The picture may be hidden."""
        return {Blanked.PICTURE: "question only"}

    def guess(self, rows: Sequence[Question], rng: np.random.Generator) -> list[str]:
        """Answers of the list drawn uniformly."""
        return [self.answers.answers[place] for place in rng.integers(len(self.answers), size=len(rows))]

    def constants(self, rows: Sequence[Question]) -> dict[str, list[str]]:
        """The most frequent answer of each kind of question in the training rows."""
        by_kind: dict[str, list[str]] = defaultdict(list)
        for row in self.train_rows:
            by_kind[row.kind].append(normalise_caption(row.answer))
        usual = {kind: most_frequent(answers) for kind, answers in by_kind.items()}
        anything = most_frequent([answer for answers in by_kind.values() for answer in answers])
        return {"most frequent answer": [usual.get(row.kind, anything) for row in rows]}

    def case(self, row: Question, prediction: str) -> Case:
        """Wrong answers are worse than right ones."""
        score = vote_accuracy(row, prediction)
        others = [answer for answer, _ in row.votes if answer != row.answer]
        return Case(
            truth=row.answer + (f" (also {', '.join(others)})" if others else ""),
            predicted=prediction,
            right=score >= 0.5,
            badness=1 - score,
            texts=(("", row.question),),
            pictures=(row.image,),
        )

    def group(self, row: Question) -> Hashable:
        """Questions about one picture belong together (in the baseline too: it sees the same batches)."""
        return row.image

    def is_new(self, name: str) -> bool:
        """The decoder counts as new: it starts from fusion's weights, but has never written an answer."""
        return name.startswith("decoder.")

    def collate(self, rows: Sequence[Question]) -> VqaBatch:
        """Pictures, questions and answers of the rows."""
        hidden = self.settings.blanked is Blanked.PICTURE
        pixels, index = self.pictures.distinct([row.image for row in rows], hidden)
        limit = self.settings.max_tokens
        question = self.tokenizer.encode_batch([normalise_caption(row.question) for row in rows], limit)
        votes = [row.votes or ((row.answer, 1.0),) for row in rows]
        texts = [normalise_caption(answer) for own in votes for answer, _ in own]
        answer = self.tokenizer.encode_batch(texts, limit)
        owner = weight = None
        if any(row.votes for row in rows):
            counts = torch.tensor([len(own) for own in votes])
            owner = torch.arange(len(rows)).repeat_interleave(counts)
            weight = torch.tensor([share for own in votes for _, share in own])
        return VqaBatch(
            pixels,
            index,
            padded_tokens(question, self.tokenizer),
            padded_tokens(answer, self.tokenizer, ANSWER_STEP),
            owner,
            weight,
        )

    def loss(self, batch: VqaBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy of the answer's tokens, summed over an answer, averaged over the questions.

        Where several people answered, the answers of a question are summed with their weights.
        """
        without_last = Tokens(batch.answer.ids[:, :-1], batch.answer.mask[:, :-1])
        module = self.module
        logits = module(
            batch.pixels, batch.question, without_last, batch.image_index, batch.answer_question
        ).float()  # [R, L - 1, V]
        target, mask = batch.answer.ids[:, 1:], batch.answer.mask[:, 1:]
        losses = sequence_losses(logits, batch.answer)
        if batch.weight is None:
            loss = losses.mean()
        else:
            loss = (losses * batch.weight).sum() / len(batch.question.ids)
        right = ((logits.detach().argmax(-1) == target) | ~mask).all(dim=1).float().mean()
        return Losses(total=loss, parts={"answer": loss}, metrics={"answer_right": right})

    def predict_batch(self, batch: VqaBatch) -> list[str]:
        """The likeliest answer of the list for each question."""
        memory = self.module.fuse(batch.pixels, batch.question, batch.image_index)
        best = rank_answers(self.module.decoder, self.answers, memory, batch.question.mask)
        return [self.answers.answers[place] for place in best.index.tolist()]

    def metrics(self, rows: Sequence[Question], predictions: Sequence[str]) -> dict[str, float]:
        """Accuracy over all questions, and `accuracy_<kind>` for each kind."""
        kinds = [kind_key(row.kind) for row in rows]
        found = by_type(self.per_row(rows, predictions).tolist(), kinds)
        scores = {"accuracy": found.overall}
        if found.by_answer_type.keys() == {"all"}:
            return scores
        return scores | {f"accuracy_{kind}": value for kind, value in found.by_answer_type.items()}

    def per_row(self, rows: Sequence[Question], predictions: Sequence[str]) -> NDArray[np.float64]:
        """How right each answer is."""
        return np.array([vote_accuracy(row, one) for row, one in zip(rows, predictions, strict=True)])

    def counts(self, rows: Sequence[Question]) -> dict[str, int]:
        """The questions of each kind."""
        return dict(Counter(f"accuracy_{kind_key(row.kind)}" for row in rows))


def is_right(row: Question, predicted: str) -> bool:
    """Whether the predicted answer is the row's, both normalised as captions are."""
    return normalise_caption(predicted) == normalise_caption(row.answer)


def vote_accuracy(row: Question, predicted: str) -> float:
    """How right an answer is by the votes; without any there is one answer, and it is right or not."""
    return voted_accuracy(predicted, row.votes or ((row.answer, 1.0),))


def frequent_answers(rows: Sequence[Question], limit: int | None = None) -> list[str]:
    """The normalised answers of the rows, those that most people gave first, at most `limit` of them.

    Answers of signs alone ("?") are none.
    """
    counts: Counter[str] = Counter()
    for row in rows:
        for answer, share in row.votes or ((row.answer, 1.0),):
            counts[normalise_caption(answer)] += share  # pyright: ignore[reportArgumentType]
    counts.pop("", None)
    return [answer for answer, _ in counts.most_common(limit)]


def kind_key(kind: str) -> str:
    """A kind of question as part of a metric's name: `how many` -> `how_many`."""
    return "".join(sign if sign.isalnum() else "_" for sign in kind.lower())
