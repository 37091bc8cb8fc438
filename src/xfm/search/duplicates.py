"""Pictures of a collection that are nearly alike, by their vectors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from xfm.config.pipelines import NEARLY_ALIKE
from xfm.search.index import Index
from xfm.search.journal import State
from xfm.search.searching import FoundImage, found_image
from xfm.search.store import Neighbour

_CELLS = 1 << 24  # cosines that are computed together


def duplicate_groups(
    index: Index, min_similarity: float = NEARLY_ALIKE, where: Sequence[str] = (), progress: bool = False
) -> list[list[FoundImage]]:
    """Groups of pictures that are nearly alike: the largest picture, then others by their cosine with it.

    Pictures exactly alike at the model's resolution, of which one is stored, are there with the size of that
    one. All that pass the conditions are compared with all; nothing is removed. UserError: an unknown field.
    """
    entries, vectors = index.store.vectors(index.conditions(where))
    places = {entry.key: place for place, entry in enumerate(entries)}
    known = ((key, index.journal.item(key)) for key in index.journal.offered())
    others = [(key, item.told) for key, item in known if item is not None and item.state is State.DUPLICATE]
    copies = [(key, places[of]) for key, of in others if of in places]
    entries += [replace(entries[of], key=key, source=key, metadata={}) for key, of in copies]
    rows = np.array([*places.values(), *(of for _, of in copies)], dtype=int)
    sizes = [(-one.width * one.height, one.key) for one in entries]
    order = sorted(range(len(entries)), key=sizes.__getitem__)
    groups = groups_around(vectors[rows[order]], min_similarity, progress)
    return [[found_image(Neighbour(entries[order[row]], one), one) for row, one in group] for group in groups]


def groups_around(
    vectors: NDArray[np.float32], least: float, progress: bool = False
) -> list[list[tuple[int, float]]]:
    """Rows of unit vectors [N, E] in groups of two at least, each with its cosine with the group's first row.

    The first row takes all that have a cosine of `least` with it, the next one that is in no group takes from
    the others, and so on: no chain of small differences joins what is different.
    """
    taken, groups = np.zeros(len(vectors), bool), list[list[tuple[int, float]]]()
    size = max(1, _CELLS // max(1, len(vectors)))
    for start in tqdm(range(0, len(vectors), size), "comparing", unit=" blocks", disable=not progress):
        cosines = vectors[start : start + size] @ vectors[start:].T  # [size, N - start]
        alike = np.triu(cosines >= least - 1e-6, k=1)  # by which that of equals is rounded
        for row in np.flatnonzero(alike.any(axis=1)).tolist():
            others = np.flatnonzero(alike[row] & ~taken[start:])
            if not taken[start + row] and len(others):
                taken[start + others] = True
                others = others[np.argsort(-cosines[row, others], kind="stable")]
                near = zip((start + others).tolist(), cosines[row, others].tolist(), strict=True)
                groups.append([(start + row, 1.0), *near])
    return groups
