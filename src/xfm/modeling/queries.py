"""What is asked of the fusion encoder: texts, and the pictures or regions of pictures that each looks at."""

from collections.abc import Sequence
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
class FusionQuery:
    """Q texts, each fused with one picture of a bank or with a region of it.

    Attributes:
        bank: the pictures. Queries that share one should have the same object.
        text: [Q, T, Dt] states of the language encoder.
        text_mask: [Q, T] bool.
        image: [Q] int64, the picture.
        slot: [Q] int64, which of the picture's slots stands in slot 0; None for the whole picture's.
        visible: [Q, P] bool, the patches that may be attended to; None for all.
        read: [Q, m] int64, the positions in the texts whose states are wanted; None for all.
    """

    bank: ImageBank
    text: Tensor
    text_mask: Tensor
    image: Tensor
    slot: Tensor | None = None
    visible: Tensor | None = None
    read: Tensor | None = None

    @property
    def visible_keys(self) -> Tensor | None:
        """[Q, S + P] bool keys that each query sees, or None where it sees all."""
        slots, patches = self.bank.slots.shape[1], self.bank.patches.shape[1]
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


def by_bank(queries: Sequence[FusionQuery]) -> list[list[int]]:
    """The places of the queries of each bank, in the order in which the banks first occur."""
    found: dict[int, list[int]] = {}
    for place, query in enumerate(queries):
        found.setdefault(id(query.bank), []).append(place)
    return list(found.values())


def join(queries: Sequence[FusionQuery]) -> FusionQuery:
    """Queries on one bank, of texts padded alike, as one that reads all.

    All or none of them have slots, and likewise visible patches.
    """

    def cat(parts: list[Tensor | None]) -> Tensor | None:
        present = [part for part in parts if part is not None]
        return torch.cat(present) if present else None

    return FusionQuery(
        bank=queries[0].bank,
        text=torch.cat([q.text for q in queries]),
        text_mask=torch.cat([q.text_mask for q in queries]),
        image=torch.cat([q.image for q in queries]),
        slot=cat([q.slot for q in queries]),
        visible=cat([q.visible for q in queries]),
    )


def memory_of(query: FusionQuery) -> Memory:
    """What the texts of a query attend to."""
    return Memory(query.bank.keys, query.image, query.visible_keys)
