"""ITM: image-text matching with hard negatives (paper section 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.config.training import NegativesConfig

FLOOR = NegativesConfig.min_probability
"""Added to every candidate's probability, so that each can be drawn (the published value)."""

CHUNK = 1024
"""Rows of random numbers that are in memory at once."""


@dataclass(frozen=True)
class Negatives:
    """Hard negatives of R rows among N: image [R] and text [R] int64, and valid [R] bool, False where all
    others are duplicates."""

    image: Tensor
    text: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Block:
    """Pool of rows among which negatives are drawn: ascending `rows`, places `own` in them that this
    process draws for, and `mine`, their numbers among its rows."""

    rows: range | list[int]
    own: range | list[int]
    mine: range | list[int]


def blocks_of(labels: Sequence[int], own: range) -> list[Block]:
    """Pools by label of each row, in order, also those without rows of this process."""
    found: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        found.setdefault(label, []).append(row)
    blocks = []
    for _, rows in sorted(found.items()):
        places = [place for place, row in enumerate(rows) if row in own]
        mine = [rows[place] - own.start for place in places]
        blocks.append(Block(*map(_as_range, (rows, places, mine))))
    return blocks


def _as_range(numbers: list[int]) -> range | list[int]:
    if not numbers:
        return range(0)
    whole = range(numbers[0], numbers[-1] + 1)
    return whole if len(whole) == len(numbers) else numbers


def sampling_weights(similarity: Tensor, same: Tensor, floor: float = FLOOR) -> Tensor:
    """[R, N] unnormalised probabilities softmax(similarity) + floor, 0 where `same`; a larger floor draws
    easier negatives."""
    return (similarity.softmax(dim=1) + floor).masked_fill(same, 0.0)


@torch.no_grad()
def draw_negatives(
    similarity: Tensor,
    same: Tensor,
    generator: torch.Generator,
    floor: float = FLOOR,
    by_text: Tensor | None = None,
    blocks: Sequence[Block] = (),
) -> Negatives:
    """One negative image per text and text per image, by logits [R, N] and `by_text` [R, N] (default:
    transposed), in pools `blocks` (default: one).

    Every process goes through the random numbers of all rows, so that the draws are those of a single
    process.
    """
    rows, columns = similarity.shape
    device, everything = similarity.device, range(columns)
    valid = torch.zeros(rows, dtype=torch.bool, device=device)
    image, text = (torch.zeros(rows, dtype=torch.int64, device=device) for _ in range(2))
    scores = similarity.t() if by_text is None else by_text
    for block in blocks or [Block(everything, everything, everything)]:
        inside, mine = _index(block.rows, device), _index(block.mine, device)
        duplicates = same[mine][:, inside]
        lonely = duplicates.all(dim=1)  # without any candidate a row draws itself, and leaves the loss
        own = _numbers(_index(block.own, device), device)
        for drawn, of_rows in ((image, scores), (text, similarity)):
            noise = _exponentials(len(block.rows), block.own, generator)
            if not block.own:  # nobody's rows here; the random numbers were gone through
                continue
            weights = sampling_weights(of_rows[mine][:, inside], duplicates, floor)
            weights[torch.arange(len(weights), device=device), own] += lonely
            drawn[mine] = _numbers(inside, device)[(weights / noise).argmax(1)]
        valid[mine] = ~lonely
    return Negatives(image, text, valid)


def _exponentials(rows: int, kept: range | list[int], generator: torch.Generator) -> Tensor:
    """Some rows of a [rows, rows] matrix of Exp(1), `CHUNK` rows at a time: argmax(w / e) draws i with
    probability w_i / sum(w), as torch.multinomial."""
    found = []
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        noise = torch.empty(count, rows, device=generator.device).exponential_(1, generator=generator)
        if isinstance(kept, range):
            found.append(noise[max(kept.start - start, 0) : max(kept.stop - start, 0)])
        else:
            found.append(noise[[place - start for place in kept if start <= place < start + count]])
    return torch.cat(found)


def _index(places: range | list[int], device: torch.device) -> slice | Tensor:
    if isinstance(places, range):
        return slice(places.start, places.stop)
    return torch.tensor(places, dtype=torch.int64, device=device)


def _numbers(index: slice | Tensor, device: torch.device) -> Tensor:
    return torch.arange(index.start, index.stop, device=device) if isinstance(index, slice) else index


def matching_loss(logits: Tensor, valid: Tensor, everyone: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean two-way cross-entropy of logits [3R, 2] (matched, negative image, negative text) over rows with
    negatives `valid` [R], and the accuracy; with `everyone` [N] scaled so that row-weighted means of parts
    are the global mean."""
    rows = len(valid)
    target = torch.zeros(3 * rows, dtype=torch.int64, device=logits.device)
    target[:rows] = 1
    weight = torch.cat([torch.ones_like(valid), valid, valid]).float()
    pairs = weight.sum()
    if everyone is not None:  # that the rows would have if they were like all rows of the batch
        pairs = (len(everyone) + 2 * everyone.sum()) * (rows / len(everyone))
    loss = (F.cross_entropy(logits, target, reduction="none") * weight).sum() / pairs
    right = ((logits.detach().argmax(-1) == target) * weight).sum() / pairs
    return loss, right
