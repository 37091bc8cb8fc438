"""Ranking a fixed answer list by sequence likelihood, exactly and without scoring every answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.data.schema import Tokens
from xfm.data.tokenizer import Tokenizer
from xfm.modeling.decoder import Decoder
from xfm.objectives.sequences import sequence_losses


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

    def __len__(self) -> int:
        return len(self.answers)

    def to(self, device: torch.device | str) -> "AnswerList":
        """The same list with its tensors on `device` (in place)."""
        self.ids, self.mask = self.ids.to(device), self.mask.to(device)
        return self


@dataclass(frozen=True)
class RankedAnswers:
    """The best answers of each question, the best first.

    Attributes:
        index: [N, count] int64 into the answer list.
        log_likelihood: the same shape, float, natural logarithm of the whole answer's probability, end token
            included.
    """

    index: Tensor
    log_likelihood: Tensor


def likeliest_answers(
    decoder: Decoder,
    answers: AnswerList,
    memory: Tensor,
    memory_mask: Tensor,
    count: int = 1,
    shortlist: int = 8,
    limit: int = 64,
    chunk: int = 2048,
) -> RankedAnswers:
    """The `count` answers of highest sequence likelihood for each question, best first.

    One decoder pass gives the probability of every answer's first token; the `shortlist` best answers by it
    are scored whole. An answer is never likelier than its first token, so only answers whose first token is
    likelier than the `count`-th best whole answer so far can still be among them: those are scored in a
    second round. The result is exact wherever at most `limit` answers came into question, which a trained
    decoder stays far below; an untrained one, for which all answers are alike, is cut off there. The first
    token counts once (the published code counts it twice).

    Args:
        decoder: in evaluation mode.
        answers: on the memory's device.
        memory: [N, S, D] fused questions.
        memory_mask: [N, S] bool.
        count: answers of each question, all of them at most.
        shortlist: answers of each question scored in the first round, `count` at least.
        limit: answers of each question scored at most, those of the likeliest first tokens.
        chunk: decoder rows per pass.

    Returns:
        Index and log-likelihood, both [N, count].
    """
    count = min(count, len(answers))
    shortlist = max(shortlist, count)
    questions = memory.shape[0]
    begin = answers.ids[:1, :1].expand(questions, 1)  # [N, 1]
    logits = decoder(begin, torch.ones_like(begin, dtype=torch.bool), memory, memory_mask)[:, 0]
    first = logits.float().log_softmax(-1)[:, answers.ids[:, 1]]  # [N, A]
    totals = torch.full_like(first, -torch.inf)

    def score(rows: Tensor, columns: Tensor) -> None:
        for start in range(0, len(rows), chunk):
            r, c = rows[start : start + chunk], columns[start : start + chunk]
            rest = _rest_log_likelihood(decoder, answers.ids[c], answers.mask[c], memory, memory_mask, r)
            totals[r, c] = first[r, c] + rest

    order = first.topk(min(max(shortlist, limit), len(answers)), dim=1).indices  # [N, K], likeliest first
    rows = torch.arange(questions, device=memory.device)[:, None].expand_as(order)
    score(rows[:, :shortlist].flatten(), order[:, :shortlist].flatten())
    contenders = first.gather(1, order) > totals.topk(count, dim=1).values[:, -1:]
    contenders[:, :shortlist] = False
    score(rows[contenders], order[contenders])
    likelihood, index = totals.topk(count, dim=1)
    return RankedAnswers(index, likelihood)


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


def _rest_log_likelihood(
    decoder: Decoder, ids: Tensor, mask: Tensor, memory: Tensor, memory_mask: Tensor, memory_index: Tensor
) -> Tensor:
    """Log-likelihood of the tokens after the first of each answer.

    Args:
        ids: [M, L] int64 with the begin token in front.
        mask: [M, L] bool.
        memory: [N, S, D]; memory_mask: [N, S]; memory_index: [M] int64.

    Returns:
        [M] float.
    """
    length = int(mask.sum(dim=1).max())
    ids, mask = ids[:, :length], mask[:, :length]
    logits = decoder(ids[:, :-1], mask[:, :-1], memory, memory_mask, memory_index)[:, 1:]  # [M, L - 2, V]
    chosen = logits.float().log_softmax(-1).gather(-1, ids[:, 2:, None]).squeeze(-1)
    return (chosen * mask[:, 2:]).sum(dim=1)
