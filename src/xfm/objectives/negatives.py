"""Hard negatives of image-text matching (paper section 3.2), and a queue of earlier pairs as more of them.

Among a few dozen pairs the nearest are far off, but for a row's twin. As in cross-batch memory (arXiv
1912.06798), states of earlier steps are kept without gradient: they change slowly and cost no encoding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Self

import torch
from torch import Tensor

from xfm.config.training import NegativesConfig
from xfm.models.fusion import TextBank
from xfm.objectives.text_rows import PairEmbeddings, TextRows, longer, padded, same_identity, with_others

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


Block = tuple[range, range, range]
"""Pool of rows among which negatives are drawn: the rows, the places in them that this process draws for, and
the numbers of these among its rows."""


def blocks_of(labels: Sequence[int], own: range) -> list[Block]:
    """Pools of rows that follow one another with the same label, also those without rows of this process."""
    blocks, start = list[Block](), 0
    for _, members in groupby(labels):
        rows = range(start, start + len([*members]))
        first = max(rows.start, own.start)
        stop = max(first, min(rows.stop, own.stop))
        places = range(first - rows.start, stop - rows.start)
        blocks.append((rows, places, range(first - own.start, stop - own.start)))
        start = rows.stop
    return blocks


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
    for pool, places, numbers in blocks or [(everything, everything, everything)]:
        inside, mine = slice(pool.start, pool.stop), slice(numbers.start, numbers.stop)
        duplicates = same[mine, inside]
        lonely = duplicates.all(dim=1)  # without any candidate a row draws itself, and leaves the loss
        own = torch.arange(places.start, places.stop, device=device)
        for drawn, of_rows in ((image, scores), (text, similarity)):
            noise = _exponentials(len(pool), places, generator)
            if places:  # of others' rows the random numbers are gone through
                weights = sampling_weights(of_rows[mine, inside], duplicates, floor)
                weights[torch.arange(len(weights), device=device), own] += lonely
                drawn[mine] = pool.start + (weights / noise).argmax(1)
        valid[mine] = ~lonely
    return Negatives(image, text, valid)


def _exponentials(rows: int, kept: range, generator: torch.Generator) -> Tensor:
    """Some rows of a [rows, rows] matrix of Exp(1), `CHUNK` rows at a time: argmax(w / e) draws i with
    probability w_i / sum(w), as torch.multinomial."""
    found = []
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        noise = torch.empty(count, rows, device=generator.device).exponential_(1, generator=generator)
        found.append(noise[max(kept.start - start, 0) : max(kept.stop - start, 0)])
    return torch.cat(found)


SHARE = 0.5
"""Share of the rows whose negatives are remembered ones: those that have no twin, or anything else that is
near, in the batch; the others have what they have there."""
_SEEN = "seen"
_SENTENCES = ("text_states", "text_mask")


class NegativeQueue:
    """The last `size` pairs of this process as they were encoded then; draws come from the device's global
    random numbers, so results depend on the number of processes."""

    def __init__(self, size: int) -> None:
        self.size, self._seen, self._kept = size, 0, dict[str, Tensor]()

    def state(self) -> dict[str, Tensor]:
        """Copies of all tensors by name; empty for an empty queue."""
        kept = {name: tensor.cpu().clone() for name, tensor in self._kept.items()}
        return {**kept, _SEEN: torch.tensor([self._seen])} if kept else {}

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Self:
        """A queue from `state`, on the tensors' device."""
        found = cls(len(state["usable"]))
        found._seen = int(state[_SEEN])
        found._kept = {name: tensor for name, tensor in state.items() if name != _SEEN}
        return found

    @torch.no_grad()
    def add(self, rows: TextRows, vectors: PairEmbeddings) -> None:
        """Put R pairs in the place of the oldest."""
        states = torch.cat([rows.bank.slots, rows.bank.patches], dim=1)
        sums = vectors.image.sum(1) + vectors.text.sum(1) + states.sum((1, 2)) + rows.texts.states.sum((1, 2))
        new = {
            "image_vectors": vectors.image,
            "text_vectors": vectors.text,
            "image_identity": vectors.image_identity,
            "text_identity": vectors.text_identity,
            "image_states": states,
            "text_states": rows.texts.states,
            "text_mask": rows.texts.mask,
            "usable": sums.isfinite(),  # a step that was skipped must not spoil those after it
        }
        count = min(self.size, len(states))
        at = (self._seen + torch.arange(count, device=states.device)) % self.size
        unusable = ~new["usable"]
        for name, tensor in new.items():
            if tensor.is_floating_point():  # fusion sees all states of a batch, also those that nobody drew
                tensor = tensor.masked_fill(unusable.view(-1, *[1] * (tensor.dim() - 1)), 0.0)
            sentence, last = name in _SENTENCES, tensor[-count:].detach()
            if name not in self._kept:
                self._kept[name] = tensor.new_zeros(self.size, *tensor.shape[1:])
            elif sentence and self._kept[name].shape[1] < tensor.shape[1]:
                self._kept[name] = padded(self._kept[name], tensor.shape[1])
            kept = self._kept[name]
            kept[at] = padded(last, kept.shape[1]) if sentence else last
        self._seen = (self._seen + count) % self.size

    def with_negatives(
        self, rows: TextRows, negatives: Negatives, vectors: PairEmbeddings, temperature: Tensor
    ) -> tuple[TextRows, Negatives]:
        """Rows with queued images and texts behind them, and negatives of which some are queued ones."""
        if not self._kept:
            return rows, negatives
        with torch.no_grad(), torch.autocast(vectors.text.device.type, enabled=False):
            near = vectors.text.float() @ vectors.image.float().t()
            near.masked_fill_(same_identity(vectors.image_identity, vectors.text_identity), -torch.inf)
        chosen, queued = [], []
        for queries, own, name, negative, first in (
            (vectors.text, near, "image_vectors", negatives.image, len(rows.image)),
            (vectors.image, near.t(), "text_vectors", negatives.text, len(rows.texts.states)),
        ):
            at, kept, found = self._draw(queries, own, name, vectors, temperature)
            new = first + torch.arange(len(at), device=negative.device)
            chosen.append(negative.index_copy(0, at, torch.where(found, new, negative[at])))
            queued.append(kept)
        pictures, texts = queued
        states = self._kept["image_states"][pictures].to(rows.bank.patches.dtype)
        said = TextBank(self._kept["text_states"][texts], self._kept["text_mask"][texts])
        length = max(rows.texts.states.shape[1], said.states.shape[1])
        said = longer(replace(said, states=said.states.to(rows.texts.states.dtype)), length)
        behind = with_others(replace(rows, texts=longer(rows.texts, length)), states, None, said)
        image, text = chosen
        return behind, Negatives(image, text, negatives.valid)

    @torch.no_grad()
    def _draw(
        self, queries: Tensor, near: Tensor, name: str, own: PairEmbeddings, temperature: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Negatives for the `SHARE` of queries [R, E] to which nothing is near in the batch [R, R], drawn
        as by `sampling_weights`: their rows, what they drew, and whether there was any. Queries without a
        negative in the batch leave the loss, and need none."""
        kept, usable = self._kept, self._kept["usable"]
        nearest = near.amax(dim=1).nan_to_num(neginf=torch.inf)
        rows = nearest.argsort()[: round(SHARE * len(queries))]
        with torch.autocast(queries.device.type, enabled=False):
            similarity = queries[rows].float() @ kept[name].float().t() / temperature
        never = same_identity(
            own.image_identity[rows], own.text_identity[rows], (kept["image_identity"], kept["text_identity"])
        )
        similarity = similarity.masked_fill(~usable, -torch.inf)
        weights = sampling_weights(similarity, never | ~usable).nan_to_num()
        drawn = (weights / torch.empty_like(weights).exponential_()).argmax(1)
        return rows, drawn, weights.sum(1) > 0
