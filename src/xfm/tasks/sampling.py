"""What of a fine-tuning is drawn: the order of its rows, a pure function of seed and position; its head."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from xfm.training.collectives import part

Row = TypeVar("Row")


def components(rows: Iterable[Sequence[Hashable]]) -> dict[Hashable, int]:
    """Group of each thing (picture) that rows connect, directly or through others."""
    places: dict[Hashable, int] = {}
    pairs = [(row[0], other) for row in rows for other in row]
    links = [[places.setdefault(one, len(places)) for one in pair] for pair in pairs]
    if not links:
        return {}
    graph = coo_array((np.ones(len(links)), np.array(links).T), shape=(len(places), len(places)))
    return dict(zip(places, connected_components(graph, directed=False)[1].tolist(), strict=True))


def alike_groups(vectors: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """[N] group of each of [N, E] unit vectors: halves of halves, cut between two far members, until none
    has more than `most`."""
    found = [np.arange(len(vectors))]
    while len(found[0]) > most:  # the first of halves is the largest
        halves = list[NDArray[np.int64]]()
        for own in found:
            far = own[(vectors[own] @ vectors[own[0]]).argmin()]
            other = own[(vectors[own] @ vectors[far]).argmin()]
            between = vectors[own] @ (vectors[far] - vectors[other])
            halves += np.array_split(own[np.argsort(between, kind="stable")], 2)
        found = halves
    groups = np.empty(len(vectors), dtype=np.int64)
    for number, own in enumerate(found):
        groups[own] = number
    return groups


class RowOrder:
    """Endless row numbers: each epoch shuffles chunks of at most `per_group` rows of a group (of one
    picture), so that a batch encodes few pictures. ValueError without rows."""

    def __init__(self, groups: Sequence[Hashable], seed: int, per_group: int) -> None:
        if not groups:
            raise ValueError("there are no rows to draw from")
        self._groups, self._seed, self._per_group = groups, seed, per_group
        self._kept: dict[int, list[int]] = {}

    def at(self, position: int, count: int) -> list[int]:
        """The `count` row numbers, in [0, len(groups)), from a position of the order on."""
        found: list[int] = []
        while len(found) < count:
            epoch, offset = divmod(position + len(found), len(self._groups))
            if epoch not in self._kept:
                self._kept = {near: self._kept[near] for near in (epoch - 1, epoch + 1) if near in self._kept}
                rng, most = np.random.default_rng((self._seed, epoch)), self._per_group
                members: dict[Hashable, list[int]] = defaultdict(list)
                for row in rng.permutation(len(self._groups)).tolist():
                    group = self._groups[row]
                    members[("alone", row) if group is None else ("group", group)].append(row)
                chunks = [rows[i : i + most] for rows in members.values() for i in range(0, len(rows), most)]
                order = rng.permutation(len(chunks)).tolist()
                self._kept[epoch] = [row for chunk in order for row in chunks[chunk]]
            found += self._kept[epoch][offset : offset + count - len(found)]
        return found


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws inside (a head's initialisation) depend on `seed` alone and leave torch's state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class SampledRows(Generic[Row]):
    """Rows of a process in the batch of a step. Draws must not depend on how it is divided: by `seed_of` of a
    row, or a place in `batch`."""

    rows: Sequence[Row]
    batch: Sequence[Row]
    first: int
    step: int
    seed: int

    def seed_of(self, place: int) -> int:
        """A seed for what is drawn for `rows[place]`: a pure function of run, step and place in the batch."""
        numbers = np.random.SeedSequence((self.seed, self.step, self.first + place))
        return int(numbers.generate_state(1, np.uint64)[0] >> 1)


def sampled_rows(
    cases: Sequence[Row],
    order: RowOrder,
    batch_size: int,
    seed: int,
    index: int,
    accumulation: int = 1,
    rank: int = 0,
    world: int = 1,
) -> SampledRows[Row]:
    """Training rows of a process in micro-batch `index`, counted over the steps, of `batch_size` rows a step
    over all processes; ValueError if one would be empty."""
    if batch_size < accumulation * world:
        raise ValueError(f"{batch_size} rows are too few for {accumulation} x {world} parts of a batch")
    step, micro = divmod(index, accumulation)
    batch = [cases[row] for row in order.at(step * batch_size, batch_size)]
    own = part(len(batch), rank * accumulation + micro, world * accumulation)
    return SampledRows(batch[own], batch, own.start, step, seed)
