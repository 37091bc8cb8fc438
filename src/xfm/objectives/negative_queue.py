"""Queue of earlier pairs as further ITM negatives, as in cross-batch memory (arXiv 1912.06798).

Among a few dozen pairs the nearest are far off, but for a row's twin. States of earlier steps change slowly
and cost no encoding; they are kept without gradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from xfm.models.fusion import TextBank
from xfm.objectives.embeddings import PairEmbeddings, same_identity
from xfm.objectives.itm import Negatives, sampling_weights
from xfm.objectives.text_rows import TextRows, longer, padded, with_others

SHARE = 0.5
"""Share of the rows whose negatives are remembered ones: those that have no twin, or anything else that is
near, in the batch; the others have what they have there."""
_SEEN = "seen"
_SENTENCES = ("text_states", "text_mask")


@dataclass(frozen=True)
class _Drawn:
    rows: Tensor
    kept: Tensor
    found: Tensor

    def put(self, negatives: Tensor, first: int) -> Tensor:
        new = first + torch.arange(len(self.rows), device=negatives.device)
        return negatives.index_copy(0, self.rows, torch.where(self.found, new, negatives[self.rows]))


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
            kept, last = self._room(name, tensor), tensor[-count:].detach()
            kept[at] = padded(last, kept.shape[1]) if name in _SENTENCES else last
        self._seen = (self._seen + count) % self.size

    def _room(self, name: str, like: Tensor) -> Tensor:
        if name not in self._kept:
            self._kept[name] = like.new_zeros(self.size, *like.shape[1:])
        elif name in _SENTENCES and self._kept[name].shape[1] < like.shape[1]:
            self._kept[name] = padded(self._kept[name], like.shape[1])
        return self._kept[name]

    def with_negatives(
        self, rows: TextRows, negatives: Negatives, vectors: PairEmbeddings, temperature: Tensor
    ) -> tuple[TextRows, Negatives]:
        """Rows with queued images and texts behind them, and negatives of which some are queued ones."""
        if not self._kept:
            return rows, negatives
        with torch.no_grad(), torch.autocast(vectors.text.device.type, enabled=False):
            near = vectors.text.float() @ vectors.image.float().t()
            near.masked_fill_(same_identity(vectors.image_identity, vectors.text_identity), -torch.inf)
        pictures = self._draw(vectors.text, near, "image_vectors", vectors, temperature)
        texts = self._draw(vectors.image, near.t(), "text_vectors", vectors, temperature)
        image = pictures.put(negatives.image, len(rows.image))
        text = texts.put(negatives.text, len(rows.texts.states))
        return self._behind(rows, pictures.kept, texts.kept), Negatives(image, text, negatives.valid)

    @torch.no_grad()
    def _draw(
        self, queries: Tensor, near: Tensor, name: str, own: PairEmbeddings, temperature: Tensor
    ) -> _Drawn:
        """Negatives for the `SHARE` of queries [R, E] to which nothing is near in the batch [R, R], drawn
        as by `sampling_weights`. Queries without a negative in the batch leave the loss, and need none."""
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
        return _Drawn(rows, drawn, weights.sum(1) > 0)

    def _behind(self, rows: TextRows, pictures: Tensor, texts: Tensor) -> TextRows:
        states = self._kept["image_states"][pictures].to(rows.bank.patches.dtype)
        said = TextBank(self._kept["text_states"][texts], self._kept["text_mask"][texts])
        length = max(rows.texts.states.shape[1], said.states.shape[1])
        said = longer(replace(said, states=said.states.to(rows.texts.states.dtype)), length)
        return with_others(replace(rows, texts=longer(rows.texts, length)), states, None, said)
