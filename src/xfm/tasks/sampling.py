"""What of a fine-tuning is drawn: the order of its rows, a pure function of seed and position; its head."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


def components(rows: Iterable[Sequence[Hashable]]) -> dict[Hashable, int]:
    """Numbers of the groups of things that rows connect, directly or through other rows.

    Args:
        rows: the things (pictures) that each row uses.

    Returns:
        The group's number for each thing; rows share nothing with rows of other groups.
    """
    parent: dict[Hashable, Hashable] = {}

    def root(thing: Hashable) -> Hashable:
        while parent.setdefault(thing, thing) != thing:
            parent[thing] = parent[parent[thing]]  # halve the path
            thing = parent[thing]
        return thing

    for first, *others in rows:
        root(first)  # a thing that stands alone has a group, too
        for other in others:
            parent[root(other)] = root(first)
    numbers = {top: number for number, top in enumerate(dict.fromkeys(root(thing) for thing in list(parent)))}
    return {thing: numbers[root(thing)] for thing in list(parent)}


def row_order(groups: Sequence[Hashable], seed: int, position: int, per_group: int) -> Iterator[int]:
    """Endless order of row numbers: each epoch is a permutation in which rows of a group stay together.

    Rows of a group (questions about one picture) follow each other in chunks of at most `per_group`, so that
    a batch encodes few pictures for many rows; the chunks are shuffled, and so are the rows of a group.

    Args:
        groups: group of each row; None stands alone.
        seed: seed of the permutations.
        position: where in the endless order to begin.
        per_group: longest chunk of a group.

    Yields:
        Row numbers in [0, len(groups)).
    """
    if not groups:
        raise ValueError("there are no rows to draw from")
    epoch, offset = divmod(position, len(groups))
    while True:
        yield from _epoch(groups, seed, epoch, per_group)[offset:]
        epoch, offset = epoch + 1, 0


def _epoch(groups: Sequence[Hashable], seed: int, epoch: int, per_group: int) -> list[int]:
    """The permutation of one epoch."""
    rng = np.random.default_rng((seed, epoch))
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row in rng.permutation(len(groups)).tolist():
        group = groups[row]
        members[("alone", row) if group is None else ("group", group)].append(row)
    chunks = [rows[i : i + per_group] for rows in members.values() for i in range(0, len(rows), per_group)]
    return [row for chunk in rng.permutation(len(chunks)).tolist() for row in chunks[chunk]]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws inside (a head's initialisation) depend on `seed` alone and leave torch's state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
