"""Parts of one table: drawn by a seed, alike in their classes, and without a picture in two of them."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np


def split_rows(
    groups: Sequence[Hashable], strata: Sequence[Hashable], shares: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Row numbers of each part and of the `rest`, in rising order. Rows of a group (such as an image) stay
    together. Of each stratum (groups whose first row is of one class) each part takes its share, rounded,
    with what rounding kept from it in the strata before; every stratum leaves at least one group to the
    rest."""
    found: dict[str, list[int]] = {name: [] for name in (*shares, "rest")}
    owed = dict.fromkeys(shares, 0.0)  # what rounding kept from each part so far
    for order in drawn_units(groups, strata, seed):
        size = sum(map(len, order))
        for name, share in shares.items():
            wanted = share * size + owed[name]
            taken = 0
            while len(order) > 1 and len(order[-1]) / 2 <= wanted - taken:
                unit = order.pop()
                found[name] += unit
                taken += len(unit)
            owed[name] = wanted - taken
        found["rest"] += [row for unit in order for row in unit]
    return {name: sorted(rows) for name, rows in found.items()}


def drawn_units(
    groups: Sequence[Hashable], strata: Sequence[Hashable], seed: int
) -> Iterator[list[list[int]]]:
    """The groups of each stratum, those whose first row is of one class, as row numbers in a drawn order."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    by_stratum: dict[Hashable, list[list[int]]] = defaultdict(list)
    for rows in members.values():
        by_stratum[strata[rows[0]]].append(rows)
    rng = np.random.default_rng(seed)
    for units in by_stratum.values():
        yield [units[place] for place in rng.permutation(len(units)).tolist()]
