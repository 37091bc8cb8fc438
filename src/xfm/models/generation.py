"""Texts written by a causal decoder: beam search, and sampling by temperature, top-k and top-p."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from xfm.config.inference import MOST, Generation
from xfm.data.tokenizer import Tokenizer
from xfm.models.decoder import CachedDecoder, Decoder


@dataclass(frozen=True)
class SpecialTokens:
    """Begin, end and padding tokens, `banned` tokens that are never written, and the tokens of a `prompt`,
    which count in no length or score and are not returned."""

    begin: int
    end: int
    pad: int
    banned: tuple[int, ...] = ()
    prompt: tuple[int, ...] = ()

    @classmethod
    def of(cls, tokenizer: Tokenizer, prompt: str = "") -> Self:
        """The marks of a tokenizer; no special token but the end is written."""
        banned = tuple(sorted(tokenizer.special_ids - {tokenizer.eos}))
        said = tokenizer.encode_lists([prompt], MOST)[0][0][1:-1] if prompt else []
        return cls(tokenizer.bos, tokenizer.eos, tokenizer.pad, banned, tuple(said))


@dataclass(frozen=True)
class GeneratedTexts:
    """n texts per memory, best first: ids and mask [M, n, L] from the begin token on; scores [M, n] float32
    of beam search, or the log-likelihood of sampling without temperature and cuts; -inf for missing texts."""

    ids: Tensor
    mask: Tensor
    scores: Tensor


@torch.inference_mode()
def generate(
    decoder: Decoder,
    memory: Tensor,
    memory_mask: Tensor,
    marks: SpecialTokens,
    how: Generation,
    draws: Tensor | None = None,
) -> GeneratedTexts:
    """Beam search or sampling over memories [M, S, D]; `draws` [M, n, L - 1] in [0, 1) replaces the
    seed's. ValueError for texts longer than the decoder's positions."""
    rows = decoder.embeddings.positions.num_embeddings - decoder.embeddings.first - len(marks.prompt)
    if how.max_tokens - 1 > rows:  # the last token is written, not read
        raise ValueError(f"max_tokens is {how.max_tokens}, but the decoder reads {rows} tokens")
    if not how.sample:
        return beam_search(decoder, memory, memory_mask, marks, how)
    if draws is None:
        generator = torch.Generator().manual_seed(how.seed)
        draws = torch.rand(len(memory), how.texts, how.max_tokens - 1, generator=generator)
    return sample(decoder, memory, memory_mask, marks, how, draws.to(memory.device))


def _step(cached: CachedDecoder, ids: Tensor, prompt: tuple[int, ...]) -> Tensor:
    """`CachedDecoder.step` with the prompt behind the begin token."""
    said = torch.tensor([prompt], dtype=torch.int64, device=ids.device).expand(len(ids), -1)
    whole = torch.cat([ids[:, :1], said, ids[:, 1:]], dim=1)
    for length in range(len(prompt)) if ids.shape[1] == 1 else ():  # it is read once, before all else
        cached.step(whole[:, : 1 + length])
    return cached.step(whole)


# ---------------------------------------------------------------- beam search
def beam_search(
    decoder: Decoder, memory: Tensor, memory_mask: Tensor, marks: SpecialTokens, how: Generation
) -> GeneratedTexts:
    """Beam search, arguments as of `generate`: an ended text counts if it is among the `beams` best
    continuations of its step; stops when no open text can reach the n-th best."""
    count, beams = len(memory), max(how.beams, how.texts)
    cached = CachedDecoder(decoder, memory, memory_mask, beams)
    ids = torch.full((count, beams, 1), marks.begin, device=memory.device)
    scores = torch.full((count, beams), -torch.inf, device=memory.device)
    scores[:, 0] = 0  # all beams begin alike: one of them is enough
    found = torch.full((count, how.texts, how.max_tokens), marks.pad, device=memory.device)
    sizes = torch.zeros(count, how.texts, dtype=torch.int64, device=memory.device)
    reached, penalty = torch.full((count, how.texts), -torch.inf, device=memory.device), how.length_penalty
    for length in range(2, how.max_tokens + 1):
        logits = _step(cached, ids.flatten(0, 1), marks.prompt).float()
        likelihood = _permitted(logits.log_softmax(-1), marks, length >= how.min_tokens)
        vocabulary = likelihood.shape[-1]
        total = (scores[..., None] + likelihood.view(count, beams, -1)).flatten(1)  # [M, K * V]
        best, place = total.topk(2 * beams)  # at most K of them end
        origin, token = place // vocabulary, place % vocabulary
        grown = torch.cat([_pick(ids, origin), token[..., None]], dim=-1)  # [M, 2K, length]
        ends = token.eq(marks.end) if length < how.max_tokens else torch.ones_like(token, dtype=torch.bool)
        ended = best[:, :beams].masked_fill(~ends[:, :beams], -torch.inf)
        padded = torch.nn.functional.pad(grown[:, :beams], (0, how.max_tokens - length), value=marks.pad)
        sizes = torch.cat([sizes, torch.full_like(ended, length, dtype=torch.int64)], dim=1)
        reached, chosen = torch.cat([reached, ended / (length - 1) ** penalty], dim=1).topk(how.texts)
        found, sizes = _pick(torch.cat([found, padded], dim=1), chosen), sizes.gather(1, chosen)
        scores, chosen = best.masked_fill(ends, -torch.inf).topk(beams)
        # A longer text is less likely, but the penalty may forgive that.
        longest = (how.max_tokens if penalty > 0 else length) - 1
        if (scores[:, 0] / longest**penalty <= reached[:, -1]).all():
            break
        ids, origin = _pick(grown, chosen), origin.gather(1, chosen)
        first = torch.arange(0, count * beams, beams, device=origin.device)
        cached.reorder((first[:, None] + origin).flatten())
    sizes = sizes.masked_fill(reached.isinf(), 0)
    longest = int(sizes.max()) if sizes.numel() else 0
    mask = torch.arange(longest, device=sizes.device) < sizes[..., None]
    return GeneratedTexts(found[..., :longest].masked_fill(~mask, marks.pad), mask, reached)


def _pick(rows: Tensor, index: Tensor) -> Tensor:
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))


# ---------------------------------------------------------------- sampling
def sample(
    decoder: Decoder,
    memory: Tensor,
    memory_mask: Tensor,
    marks: SpecialTokens,
    how: Generation,
    draws: Tensor,
) -> GeneratedTexts:
    """Texts of drawn tokens; arguments as of `generate`."""
    count, texts = len(memory), how.texts
    cached = CachedDecoder(decoder, memory, memory_mask, texts)
    ids = torch.full((count * texts, 1), marks.begin, device=memory.device)
    going = torch.ones(count * texts, dtype=torch.bool, device=memory.device)
    mask = going[:, None]
    scores = torch.zeros(count * texts, device=memory.device)
    for length in range(2, how.max_tokens + 1):
        logits = _step(cached, ids, marks.prompt).float()
        permitted = _permitted(logits, marks, length >= how.min_tokens)
        token = choose(narrow(permitted, how).softmax(-1), draws[..., length - 2].flatten())
        likelihood = logits.log_softmax(-1).gather(1, token[:, None])[:, 0]
        scores = scores + likelihood.masked_fill(~going, 0)
        ids = torch.cat([ids, token.masked_fill(~going, marks.pad)[:, None]], dim=1)
        mask = torch.cat([mask, going[:, None]], dim=1)
        going = going & token.ne(marks.end)
        if not going.any():
            break
    order = scores.view(count, texts).argsort(dim=1, descending=True)
    shaped = (tensor.view(count, texts, -1) for tensor in (ids, mask))
    ids, mask = (_pick(tensor, order) for tensor in shaped)
    return GeneratedTexts(ids, mask, scores.view(count, texts).gather(1, order))


def narrow(logits: Tensor, how: Generation) -> Tensor:
    """[N, V] logits over the temperature, -inf at the tokens that top_k and then top_p leave out."""
    logits = logits / how.temperature
    if 0 < how.top_k < logits.shape[-1]:
        least = logits.topk(how.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if how.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        share = ordered.softmax(-1)
        before = share.cumsum(-1) - share  # probability of all likelier tokens
        surplus = (before >= how.top_p).scatter(-1, order, before >= how.top_p)
        logits = logits.masked_fill(surplus, -torch.inf)
    return logits


def choose(probabilities: Tensor, draws: Tensor) -> Tensor:
    """[N, V] probabilities and [N] draws in [0, 1) -> [N] int64 tokens, each with its probability."""
    reached = probabilities.double().cumsum(-1)
    goal = draws.double()[:, None] * reached[:, -1:]
    return (reached <= goal).sum(-1)


def _permitted(scores: Tensor, marks: SpecialTokens, may_end: bool) -> Tensor:
    unwanted = [*marks.banned, *([] if may_end else [marks.end])]
    if not unwanted:
        return scores
    places = torch.tensor(unwanted, device=scores.device)
    return scores.index_fill(-1, places, -torch.inf)
