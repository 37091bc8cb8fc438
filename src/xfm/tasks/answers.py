"""Ranking a fixed answer list by sequence likelihood, exactly and without scoring every answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from xfm.data.schema import Tokens
from xfm.data.tokenizer import Tokenizer
from xfm.models.decoder import CachedDecoder, Decoder
from xfm.objectives.losses import sequence_losses


@dataclass(frozen=True)
class Level:
    """P distinct prefixes [P, L] of answers in order, and the answer [P] that each is, or -1. Those of prefix
    p of the level before are count[p] from first[p] on."""

    ids: Tensor
    answer: Tensor
    count: Tensor
    first: Tensor


class AnswerList:
    """Distinct normalised answers as tokens: ids [A, L] int64 `<s> answer </s>`, padded, mask [A, L] bool."""

    def __init__(self, answers: Sequence[str], tokenizer: Tokenizer, max_tokens: int = 16) -> None:
        if not answers:
            raise ValueError("the answer list is empty")
        self.answers = tuple(answers)
        encoded = tokenizer.encode_batch(self.answers, max_tokens)
        self.ids, self.mask = encoded.ids, encoded.mask

    @cached_property
    def tree(self) -> tuple[list[Level], Tensor]:
        """The answers as a tree of prefixes, and [A] int64 which of those of equal tokens stands there."""
        lengths, levels, places = self.mask.sum(1), list[Level](), self.ids.new_zeros(len(self.ids))
        same = places.clone()
        for length in range(1, int(lengths.max()) + 1):
            own = (lengths >= length).nonzero().squeeze(1)
            ids, place = self.ids[own, :length].unique(dim=0, return_inverse=True)
            before = ids.new_zeros(len(ids)).index_copy_(0, place, places[own])
            count = before.bincount(minlength=len(levels[-1].ids) if levels else 1)
            answer, ends = torch.full_like(before, -1), lengths[own] == length
            answer[place[ends]] = own[ends]
            same[own[ends]] = answer[place[ends]]
            levels.append(Level(ids, answer, count, count.cumsum(0) - count))
            places = places.index_copy(0, own, place)
        return levels, same

    def __len__(self) -> int:
        return len(self.answers)

    def to(self, device: torch.device | str) -> "AnswerList":
        """The same list with its tensors on `device` (in place)."""
        self.ids, self.mask = self.ids.to(device), self.mask.to(device)
        self.__dict__.pop("tree", None)
        return self


def likeliest_answers(
    decoder: Decoder,
    answers: AnswerList,
    memory: Tensor,
    memory_mask: Tensor,
    count: int = 1,
    shortlist: int = 8,
    limit: int | None = 64,
    chunk: int = 2048,
) -> tuple[Tensor, Tensor]:
    """Places in the list [N, count] int64 of the best answers for memory [N, S, D] and its mask, best first,
    and natural logarithms of their probabilities with end token.

    Prefixes of a tree are read once. The `shortlist` likeliest first tokens are followed to the end, then
    only prefixes likelier than the `count`-th best answer: exact where at most `limit` first tokens come into
    question (an untrained decoder is cut off there). `chunk` prefixes are read in a pass.
    """
    count = min(count, len(answers))
    kept = max(shortlist, count)
    most = None if limit is None else max(limit, kept)
    search = _TreeSearch(answers, len(memory), count)
    begun = CachedDecoder(decoder, memory, memory_mask)
    every = torch.arange(len(memory), device=memory.device)
    none_read = torch.zeros(len(every), device=memory.device)
    root = search.read(begun, _Prefixes(every, every, torch.zeros_like(every), none_read, 0))
    # As many tokens may come first for each of the questions.
    tokens = max(int(root.question.bincount(minlength=1).max()), 1)
    order = root.score.view(len(memory), tokens).argsort(dim=1, descending=True)[:, :most]
    rows = order + torch.arange(0, len(memory) * tokens, tokens, device=order.device)[:, None]
    for part in (rows[:, :kept], rows[:, kept:]):
        search.follow(begun, root.at(part.flatten()), chunk)
    likelihood, index = search.totals[:, answers.tree[1]].topk(count, dim=1)
    return index, likelihood


@dataclass(frozen=True)
class _Prefixes:
    """R prefixes of one length: origin [R] is the prefix before, question and prefix [R] whose they are,
    score [R] float32 log-likelihood."""

    origin: Tensor
    question: Tensor
    prefix: Tensor
    score: Tensor
    depth: int

    def at(self, rows: Tensor) -> "_Prefixes":
        kept = (self.origin[rows], self.question[rows], self.prefix[rows], self.score[rows])
        return _Prefixes(*kept, self.depth)


class _TreeSearch:
    """Log-likelihoods [N, A] float32 of answers, -inf where not followed."""

    def __init__(self, answers: AnswerList, questions: int, count: int) -> None:
        self._levels, self._count = answers.tree[0], count
        self.totals = torch.full((questions, len(answers)), -torch.inf, device=answers.ids.device)

    def read(self, cached: CachedDecoder, rows: _Prefixes) -> _Prefixes:
        level, longer = self._levels[rows.depth : rows.depth + 2]
        likelihood = cached.step(level.ids[rows.prefix]).float().log_softmax(-1)  # [R, V]
        count = longer.count[rows.prefix]
        row = torch.arange(len(count), device=count.device).repeat_interleave(count)
        rank = torch.arange(len(row), device=count.device) - (count.cumsum(0) - count)[row]
        prefix = longer.first[rows.prefix][row] + rank
        score = rows.score[row] + likelihood[row, longer.ids[prefix, -1]]
        found = _Prefixes(row, rows.question[row], prefix, score, rows.depth + 1)
        answer = longer.answer[prefix]
        ended = found.at((answer >= 0).nonzero().squeeze(1))
        self.totals[ended.question, longer.answer[ended.prefix]] = ended.score
        return found.at((answer < 0).nonzero().squeeze(1))

    def follow(self, begun: CachedDecoder, rows: _Prefixes, chunk: int) -> None:
        rows = self._promising(rows)
        for start in range(0, len(rows.question), chunk):
            places = torch.arange(len(rows.question))[start : start + chunk]
            cached, part = begun, self._promising(rows.at(places))
            while len(part.question):
                cached = cached.branch(part.origin)
                part = self._promising(self.read(cached, part))

    def _promising(self, rows: _Prefixes) -> _Prefixes:
        worst = self.totals.topk(self._count, dim=1).values[:, -1]
        return rows.at(rows.score > worst[rows.question])


@dataclass(frozen=True)
class PublishedRanking:
    """The published ranking for N questions: kept and order [N, K], first tokens' probabilities [N, A],
    summed losses and softmax probabilities [N, K]."""

    kept: Tensor
    first: Tensor
    losses: Tensor
    order: Tensor
    probabilities: Tensor


def rank_as_published(decoder: Decoder, answers: Tokens, memory: Tensor, shortlist: int) -> PublishedRanking:
    """The published ranking, to reproduce its scores: the first token counts twice, the questions' padding is
    attended, and only the shortlist is scored."""
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
