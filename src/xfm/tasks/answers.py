"""Ranking a fixed answer list by sequence likelihood, exactly and without scoring every answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from xfm.data.schema import Tokens
from xfm.data.tokenizer import Tokenizer
from xfm.models.decoder import CachedDecoder, Decoder
from xfm.objectives.tokens import sequence_losses


@dataclass(frozen=True)
class _Edges:
    """Where prefixes lead: those of prefix p are count[p] in a row, from start[p] on; both [P] int64."""

    start: Tensor
    count: Tensor

    @classmethod
    def of(cls, owner: Tensor, owners: int) -> Self:
        """Of the prefix [E] that each edge leaves, which never falls."""
        count = torch.bincount(owner, minlength=owners)
        return cls(count.cumsum(0) - count, count)

    def of_rows(self, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """[R] the prefix of each row -> for all its edges the row and the edge, both [n] int64."""
        count = self.count[prefix]
        row = torch.arange(len(prefix), device=prefix.device).repeat_interleave(count)
        rank = torch.arange(len(row), device=prefix.device) - (count.cumsum(0) - count)[row]
        return row, self.start[prefix][row] + rank


@dataclass(frozen=True)
class Level:
    """The P distinct prefixes of L tokens of all longer answers, in lexicographic order.

    Attributes:
        ids: [P, L] int64.
        longer: to the prefixes of the next level.
        ends: to the answers that have one token more than the prefix.
        answer, token: [E] int64, the number and the last token of each of those answers.
    """

    ids: Tensor
    longer: _Edges
    ends: _Edges
    answer: Tensor
    token: Tensor


def prefix_tree(ids: Tensor, mask: Tensor) -> list[Level]:
    """The levels of a list of answers [A, L] int64, padded by `mask` [A, L] bool, from the begin token on."""
    lengths, levels = mask.sum(1), list[Level]()
    parents = ids.new_zeros(len(ids))  # the prefix of each answer in the level before
    for length in range(1, int(lengths.max())):
        inside = (lengths > length).nonzero().squeeze(1)
        prefixes, place = ids[inside, :length].unique(dim=0, return_inverse=True)
        if levels:
            before = prefixes.new_zeros(len(prefixes)).index_copy_(0, place, parents[inside])
            last = levels[-1]
            levels[-1] = Level(last.ids, _Edges.of(before, len(last.ids)), last.ends, last.answer, last.token)
        parents = parents.index_copy(0, inside, place)
        ending = (lengths == length + 1).nonzero().squeeze(1)
        owner, order = parents[ending].sort(stable=True)
        answer = ending[order]
        none = _Edges.of(prefixes.new_zeros(0), len(prefixes))
        levels.append(Level(prefixes, none, _Edges.of(owner, len(prefixes)), answer, ids[answer, length]))
    return levels


class AnswerList:
    """The answers that a model may give.

    Args:
        answers: distinct answers, as normalised texts.
        tokenizer: the model's tokenizer.
        max_tokens: longest answer in tokens, begin and end token included.

    Attributes:
        answers: the answers.
        ids: [A, L] int64 `<s> answer </s>`, padded.
        mask: [A, L] bool.
    """

    def __init__(self, answers: Sequence[str], tokenizer: Tokenizer, max_tokens: int = 16) -> None:
        if not answers:
            raise ValueError("the answer list is empty")
        self.answers = tuple(answers)
        encoded = tokenizer.encode_batch(self.answers, max_tokens)
        self.ids, self.mask = encoded.ids, encoded.mask

    @cached_property
    def levels(self) -> list[Level]:
        """The answers as a tree of prefixes, where the tensors are."""
        return prefix_tree(self.ids, self.mask)

    def __len__(self) -> int:
        return len(self.answers)

    def to(self, device: torch.device | str) -> "AnswerList":
        """The same list with its tensors on `device` (in place)."""
        self.ids, self.mask = self.ids.to(device), self.mask.to(device)
        self.__dict__.pop("levels", None)
        return self


@dataclass(frozen=True)
class RankedAnswers:
    """The best answers of each question, the best first: places in the list [N, count] int64, and natural
    logarithms of their probabilities, end token included, of the same shape."""

    index: Tensor
    log_likelihood: Tensor


def likeliest_answers(
    decoder: Decoder,
    answers: AnswerList,
    memory: Tensor,
    memory_mask: Tensor,
    count: int = 1,
    shortlist: int = 8,
    limit: int | None = 64,
    chunk: int = 2048,
) -> RankedAnswers:
    """The `count` answers of highest sequence likelihood for each question, best first.

    The list is a tree of prefixes, each read once, whatever the number of answers that begin with it. First
    the `shortlist` likeliest first tokens are followed to the ends of their answers. An answer is never
    likelier than what it begins with, so that of the others only those prefixes are followed that are
    likelier than the `count`-th best whole answer so far. The result is exact wherever at most `limit` first
    tokens came into question, which a trained decoder stays far below; an untrained one, for which all
    answers are alike, is cut off there. The first token counts once (the published code counts it twice).

    Args:
        decoder: in evaluation mode.
        answers: on the memory's device.
        memory: [N, S, D] fused questions.
        memory_mask: [N, S] bool.
        count: answers of each question, all of them at most.
        shortlist: first tokens of each question that are followed in any case, `count` at least.
        limit: first tokens of each question that are followed at most, the likeliest, but for those of the
            shortlist; None for all.
        chunk: prefixes that are read in one pass, of those of two tokens.

    Returns:
        Index and log-likelihood, both [N, count].
    """
    count = min(count, len(answers))
    kept = max(shortlist, count)
    most = None if limit is None else max(limit, kept)
    search = _TreeSearch(answers, len(memory), count)
    begun = CachedDecoder(decoder, memory, memory_mask)
    root = search.read(begun, search.roots(memory.device))
    tokens = max(
        int(root.question.bincount(minlength=1).max()), 1
    )  # that may come first: of each question as many
    order = root.score.view(len(memory), tokens).argsort(dim=1, descending=True)[:, :most]
    rows = order + torch.arange(0, len(memory) * tokens, tokens, device=order.device)[:, None]
    for part in (rows[:, :kept], rows[:, kept:]):
        search.follow(begun, root.at(part.flatten()), chunk)
    likelihood, index = search.totals.topk(count, dim=1)
    return RankedAnswers(index, likelihood)


@dataclass(frozen=True)
class _Prefixes:
    """R prefixes of one length, each of an answer to a question.

    Attributes:
        origin: [R] int64, which of those that were read before each goes on from.
        question, prefix: [R] int64, of whom it is, and which of its level.
        score: [R] float32 log-likelihood.
        depth: their level.
    """

    origin: Tensor
    question: Tensor
    prefix: Tensor
    score: Tensor
    depth: int

    def at(self, rows: Tensor) -> "_Prefixes":
        """Some of them: [R] bool or [n] int64."""
        kept = (self.origin[rows], self.question[rows], self.prefix[rows], self.score[rows])
        return _Prefixes(*kept, self.depth)


class _TreeSearch:
    """Log-likelihoods of the answers that can be among the best.

    Attributes:
        totals: [N, A] float32, -inf where an answer was not followed.
    """

    def __init__(self, answers: AnswerList, questions: int, count: int) -> None:
        self._levels, self._count = answers.levels, count
        self.totals = torch.full((questions, len(answers)), -torch.inf, device=answers.ids.device)

    def roots(self, device: torch.device) -> _Prefixes:
        every = torch.arange(len(self.totals), device=device)
        return _Prefixes(every, every, torch.zeros_like(every), torch.zeros(len(every), device=device), 0)

    def read(self, cached: CachedDecoder, rows: _Prefixes) -> _Prefixes:
        level = self._levels[rows.depth]
        likelihood = cached.step(level.ids[rows.prefix]).float().log_softmax(-1)  # [R, V]
        row, end = level.ends.of_rows(rows.prefix)
        self.totals[rows.question[row], level.answer[end]] = (
            rows.score[row] + likelihood[row, level.token[end]]
        )
        row, longer = level.longer.of_rows(rows.prefix)
        if not len(row):
            return _Prefixes(row, row, longer, rows.score[:0], rows.depth + 1)
        token = self._levels[rows.depth + 1].ids[longer, -1]
        score = rows.score[row] + likelihood[row, token]
        return _Prefixes(row, rows.question[row], longer, score, rows.depth + 1)

    def follow(self, begun: CachedDecoder, rows: _Prefixes, chunk: int) -> None:
        rows = self._promising(rows)
        for start in range(0, len(rows.question), chunk):
            cached, part = (
                begun,
                self._promising(rows.at(torch.arange(len(rows.question))[start : start + chunk])),
            )
            while len(part.question):
                cached = cached.branch(part.origin)
                part = self._promising(self.read(cached, part))

    def _promising(self, rows: _Prefixes) -> _Prefixes:
        worst = self.totals.topk(self._count, dim=1).values[:, -1]
        return rows.at(rows.score > worst[rows.question])


@dataclass(frozen=True)
class PublishedRanking:
    """What the published code makes of A answers for N questions.

    Attributes:
        kept: [N, K] int64, the answers of likeliest first token, best first.
        first: [N, A] probabilities of every answer's first token.
        losses: [N, K] summed cross-entropy of each kept answer, its first token included.
        order: [N, K] int64, the kept answers, best first.
        probabilities: [N, K] softmax over the scores, in that order.
    """

    kept: Tensor
    first: Tensor
    losses: Tensor
    order: Tensor
    probabilities: Tensor


def rank_as_published(decoder: Decoder, answers: Tokens, memory: Tensor, shortlist: int) -> PublishedRanking:
    """The published ranking, to reproduce its scores; `likeliest_answers` is the right one.

    It counts the first token twice (score: its log-probability minus the whole answer's loss), attends the
    padding of the questions, and looks no further than the shortlist.

    Args:
        decoder: in evaluation mode.
        answers: [A, L] the list.
        memory: [N, S, D] fused questions.
        shortlist: answers of each question that are scored whole, K.
    """
    questions = memory.shape[0]
    seen = torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)
    begin = answers.ids[:1, :1].expand(questions, 1)  # [N, 1]
    logits = decoder(begin, torch.ones_like(begin, dtype=torch.bool), memory, seen)[:, 0]
    first = logits.float().softmax(-1)[:, answers.ids[:, 1]]  # [N, A]
    best, kept = first.topk(shortlist, dim=1)
    chosen = Tokens(answers.ids[kept.flatten()], answers.mask[kept.flatten()])
    owner = torch.arange(questions, device=memory.device).repeat_interleave(shortlist)
    logits = decoder(chosen.ids, chosen.mask, memory, seen, owner)
    losses = sequence_losses(logits, chosen).view(questions, shortlist)
    probabilities, place = (best.log() - losses).softmax(-1).sort(dim=1, descending=True)
    return PublishedRanking(kept, first, losses, kept.gather(1, place), probabilities)
