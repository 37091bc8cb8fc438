"""What is asked of the fusion encoder: texts, and the pictures or regions of pictures that each looks at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.modeling.grouping import Memory


@dataclass(frozen=True)
class ImageBank:
    """Picture states that fusion queries point into: each is encoded, and turned to keys and values, once.

    Attributes:
        slots: [I, S, Dv] slot-0 vectors of each picture: of the whole in column 0, of regions in the others.
        patches: [I, P, Dv] patch vectors.
    """

    slots: Tensor
    patches: Tensor

    @property
    def keys(self) -> Tensor:
        """[I, S + P, Dv] everything that can be attended to."""
        return torch.cat([self.slots, self.patches], dim=1)

    def detach(self) -> "ImageBank":
        """The same states without their gradient."""
        return ImageBank(self.slots.detach(), self.patches.detach())


@dataclass(frozen=True)
class TextBank:
    """Text states that fusion queries point into: what does not depend on the picture is computed once.

    Attributes:
        states: [R, T, Dt] of the language encoder.
        mask: [R, T] bool.
    """

    states: Tensor
    mask: Tensor

    def detach(self) -> "TextBank":
        """The same states without their gradient."""
        return TextBank(self.states.detach(), self.mask)


@dataclass(frozen=True)
class FusionQuery:
    """Q texts of a bank, each fused with one picture of another or with a region of it.

    Queries that share a bank should have the same object: it is known by that.

    Attributes:
        texts: the texts.
        images: the pictures.
        text: [Q] int64, the text.
        image: [Q] int64, the picture.
        slot: [Q] int64, which of the picture's slots stands in slot 0; None for the whole picture's.
        visible: [Q, P] bool, the patches that may be attended to; None for all.
        read: [Q, m] int64, the positions in the texts whose states are wanted; None for all.
    """

    texts: TextBank
    images: ImageBank
    text: Tensor
    image: Tensor
    slot: Tensor | None = None
    visible: Tensor | None = None
    read: Tensor | None = None

    @property
    def visible_keys(self) -> Tensor | None:
        """[Q, S + P] bool keys that each query sees, or None where it sees all."""
        slots, patches = self.images.slots.shape[1], self.images.patches.shape[1]
        if slots == 1 and self.visible is None:
            return None
        queries = len(self.image)
        keys = self.image.new_zeros(queries, slots + patches, dtype=torch.bool)
        slot = torch.zeros_like(self.image) if self.slot is None else self.slot
        keys[torch.arange(queries, device=slot.device), slot] = True
        keys[:, slots:] = True if self.visible is None else self.visible
        return keys

    def answer(self, states: Tensor) -> Tensor:
        """[Q, T, Dt] states -> [Q, m, Dt] those that are wanted."""
        if self.read is None:
            return states
        return states[torch.arange(len(states), device=states.device)[:, None], self.read]


def by_identity(banks: Iterable[object]) -> dict[int, list[int]]:
    """The places of each object, by its `id`, in the order in which the objects first occur."""
    found: dict[int, list[int]] = {}
    for place, bank in enumerate(banks):
        found.setdefault(id(bank), []).append(place)
    return found


def memory_of(queries: Sequence[FusionQuery]) -> Memory:
    """What the texts of queries on one image bank attend to, all or none of which are on regions."""
    keys = [keys for query in queries if (keys := query.visible_keys) is not None]
    index = torch.cat([query.image for query in queries])
    return Memory(queries[0].images.keys, index, torch.cat(keys) if keys else None)
