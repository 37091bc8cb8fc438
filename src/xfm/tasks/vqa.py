"""Visual question answering: question fused with the picture -> causal decoder (spec: VQA v2)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xfm.config.task import TaskConfig
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import VQA
from xfm.data.schema import TensorFields, Tokens
from xfm.data.tables import TableRow
from xfm.data.tokenizer import normalise_caption
from xfm.metrics.vqa import voted_accuracy
from xfm.models.task_models import Answerer
from xfm.objectives.losses import Losses, sequence_losses
from xfm.tasks.answers import AnswerList, likeliest_answers, rank_as_published
from xfm.tasks.base import HiddenInput, RowScores, Task
from xfm.tasks.labelling import most_frequent_label
from xfm.tasks.rows import Case, CellMeaning, Question, SplitRows

TOGETHER = 32  # questions whose shortlists are ranked at a time
ANSWER_STEP = 4  # answers are short: padding them to a multiple of eight would double them


@dataclass(frozen=True)
class VqaBatch(TensorFields):
    """pixels [I, 3, S, S] float32, image_index [R] int64, question [R, T], answer [N, L], answer_question [N]
    int64, weight [N] float32 of each answer."""

    pixels: Tensor
    image_index: Tensor
    question: Tokens
    answer: Tokens
    answer_question: Tensor | None = None
    weight: Tensor | None = None


class VqaTask(Task[Question, VqaBatch, str]):
    """Answers from the training rows' list or a given one; the baseline blanks the picture. `shortlist` ranks
    by the published rule (0: exactly)."""

    spec: ClassVar[TaskSpec] = VQA
    primary: ClassVar[str] = "accuracy"
    module: Answerer
    hides: ClassVar[Mapping[HiddenInput, str]] = {HiddenInput.PICTURE: "question only"}

    def prepare(self, data: SplitRows[Question]) -> None:
        answers = data.answers or frequent_answers(data.train)
        self.answers = AnswerList(answers, self.tokenizer).to(self.settings.device)
        self.known = self.answers.answers
        self.shortlist = 0

    def described(self, data: SplitRows[Question], **more: Any) -> TaskConfig:
        return super().described(data, answers=self.answers.answers, **more)

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> Question:
        counts: Counter[str] = Counter()
        for answer, count in row.votes("answer").items():
            counts[normalise_caption(answer)] += count
        if "" in counts:
            raise row.error("answer", "has neither letters nor digits")
        votes = tuple((answer, count / counts.total()) for answer, count in counts.most_common())
        kind = row.text("kind") if row.has("kind") else "all"
        usual, several = most_frequent_label(list(counts.elements())), counts.total() > 1
        return Question(row.path("image"), row.text("question"), usual, kind, votes if several else ())

    @classmethod
    def answer_list(cls, rows: Sequence[Question], limit: int) -> tuple[str, ...]:
        return tuple(frequent_answers(rows, limit))

    def truths(self, row: Question) -> list[str]:
        return [normalise_caption(one) for one, _ in row.votes or ((row.answer, 1.0),)]

    def guess(self, rows: Sequence[Question], rng: np.random.Generator) -> list[str]:
        return [self.answers.answers[place] for place in rng.integers(len(self.answers), size=len(rows))]

    def constants(self, rows: Sequence[Question]) -> dict[str, list[str]]:
        by_kind: dict[str, list[str]] = defaultdict(list)
        for row in self.train_rows:
            by_kind[row.kind].append(normalise_caption(row.answer))
        usual = {kind: most_frequent_label(answers) for kind, answers in by_kind.items()}
        anything = most_frequent_label([answer for answers in by_kind.values() for answer in answers])
        return {"most frequent answer": [usual.get(row.kind, anything) for row in rows]}

    def case(self, row: Question, prediction: str) -> Case:
        score = vote_accuracy(row, prediction)
        others = [answer for answer, _ in row.votes if answer != row.answer]
        truth = row.answer + (f" (also {', '.join(others)})" if others else "")
        return Case(truth, prediction, score >= 0.5, 1 - score, (("", row.question),), (row.image,))

    def collate(self, rows: Sequence[Question]) -> VqaBatch:
        pixels, index = self.shown(rows)
        votes = [row.votes or ((row.answer, 1.0),) for row in rows]
        answers = [answer for own in votes for answer, _ in own]
        owner = weight = None
        if any(row.votes for row in rows):
            counts = torch.tensor([len(own) for own in votes])
            owner = torch.arange(len(rows)).repeat_interleave(counts)
            weight = torch.tensor([share for own in votes for _, share in own])
        questions = self.encode([row.question for row in rows])
        return VqaBatch(pixels, index[:, 0], questions, self.encode(answers, ANSWER_STEP), owner, weight)

    def loss(self, batch: VqaBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy summed over an answer, averaged over questions; several answers are weighted."""
        without_last = Tokens(batch.answer.ids[:, :-1], batch.answer.mask[:, :-1])
        given = batch.pixels, batch.question, without_last, batch.image_index, batch.answer_question
        logits = self.module(*given).float()  # [R, L - 1, V]
        target, mask = batch.answer.ids[:, 1:], batch.answer.mask[:, 1:]
        losses = sequence_losses(logits, batch.answer)
        if batch.weight is None:
            loss = losses.mean()
        else:
            loss = (losses * batch.weight).sum() / len(batch.question.ids)
        right = ((logits.detach().argmax(-1) == target) | ~mask).all(dim=1).float().mean()
        return Losses(total=loss, terms={"answer": loss}, metrics={"answer_right": right})

    def predict_batch(self, batch: VqaBatch) -> list[str]:
        memory = self.module.fuse(batch.pixels, batch.question, batch.image_index)
        answers, decoder = self.answers, self.module.decoder
        if self.shortlist:
            count, tokens = min(self.shortlist, len(answers)), Tokens(answers.ids, answers.mask)
            parts = memory.split(TOGETHER)
            best = torch.cat([rank_as_published(decoder, tokens, some, count).order for some in parts])
        else:
            best, _ = likeliest_answers(decoder, answers, memory, batch.question.mask)
        return [answers.answers[place] for place in best[:, 0].tolist()]

    def row_scores(self, rows: Sequence[Question], predictions: Sequence[str]) -> RowScores:
        """Accuracy over all questions, and `accuracy_<kind>` for each kind."""
        right = np.array([vote_accuracy(row, one) for row, one in zip(rows, predictions, strict=True)])
        kinds = np.array([kind_key(row.kind) for row in rows])
        names = [name for name in np.unique(kinds).tolist() if not (kinds == "all").all()]
        by_kind = {f"accuracy_{name}": np.where(kinds == name, right, np.nan) for name in names}
        return {"accuracy": right, **by_kind}

    def counts(self, rows: Sequence[Question]) -> dict[str, int]:
        return dict(Counter(f"accuracy_{kind_key(row.kind)}" for row in rows))


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
