"""Findings among all records: duplicates, contradicting labels, rare classes."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xfm.config.doctor import DoctorConfig
from xfm.corpora.doctor.findings import Finding
from xfm.corpora.doctor.statistics import ticket
from xfm.corpora.likeness import first_near, near_earlier

RECORD = np.dtype([("key", "<u8"), ("asked", "<u8"), ("harm", "u1")])
PICTURE = np.dtype([("record", "<u4"), ("digest", "<u8"), ("hash", "<u8")])
SAID = np.dtype([("record", "<u4"), ("digest", "<u8")])
"""What is compared: keys of records, looks of pictures, and texts; see `CheckedRecord`."""
_COMMON, _COMMON_SHARE = 10, 0.01
"""Records, and their share of all, that have a text from which on it is common."""
_MOST_CLASSES = 1000


class GroupFinding(NamedTuple):
    """A finding, the numbers of its records, and examples, each with the number of the other record."""

    finding: Finding
    records: np.ndarray
    examples: list[tuple[int, int]]


def found_together(
    records: np.ndarray, pictures: np.ndarray, said: np.ndarray, config: DoctorConfig
) -> Iterator[GroupFinding]:
    """Findings among [N] `RECORD`, [P] `PICTURE` and [T] `SAID`."""
    places = np.flatnonzero(records["key"])
    firsts, again = _repeated(records["key"][places])
    yield _paired(Finding.TWICE, places[again], places[firsts[again]], config)
    yield _contradicting(records, config)
    if config.near_duplicates:
        yield _alike(pictures, config)
    yield _common(said, len(records), config)


def rare_classes(labels: Counter[str], few: int) -> dict[str, int]:
    """Classes with fewer rows than `few`; none where labels are values or too many to be classes."""
    if len(labels) > _MOST_CLASSES or (len(labels) > 50 and all(map(_is_number, labels))):
        return {}
    return {name: count for name, count in labels.items() if count < few}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _repeated(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    firsts = first[inverse]
    return firsts, np.flatnonzero(firsts != np.arange(len(keys)))


def _paired(finding: Finding, found: np.ndarray, others: np.ndarray, config: DoctorConfig) -> GroupFinding:
    chosen = _drawn(found, config)
    return GroupFinding(finding, found, [(int(found[place]), int(others[place])) for place in chosen])


def _drawn(found: np.ndarray, config: DoctorConfig) -> list[int]:
    """Random places; of very many, the first million take part."""
    tickets = [ticket(number, config.seed) for number in found[:1_000_000].tolist()]
    return sorted(range(len(tickets)), key=tickets.__getitem__)[: config.examples]


def _contradicting(records: np.ndarray, config: DoctorConfig) -> GroupFinding:
    places = np.flatnonzero(records["asked"])
    firsts, again = _repeated(records["asked"][places])
    first = places[firsts[again]]
    differ = records["key"][places[again]] != records["key"][first]
    return _paired(Finding.CONTRADICTION, places[again][differ], first[differ], config)


def _alike(pictures: np.ndarray, config: DoctorConfig) -> GroupFinding:
    _, first = np.unique(pictures["digest"], return_index=True)
    own = pictures[np.sort(first)]
    hashes = np.ascontiguousarray(own["hash"])
    places = np.flatnonzero(near_earlier(hashes, config.distance))
    numbers = own["record"][places].astype(np.int64)
    examples = list[tuple[int, int]]()
    for chosen in _drawn(numbers, config):
        other = first_near(hashes, int(places[chosen]), config.distance)
        examples.append((int(numbers[chosen]), int(own["record"][other or 0])))
    return GroupFinding(Finding.ALIKE, np.unique(numbers), examples)


def _common(said: np.ndarray, total: int, config: DoctorConfig) -> GroupFinding:
    own = np.unique(said)  # a record says a text once
    _, inverse, counts = np.unique(own["digest"], return_inverse=True, return_counts=True)
    often = counts[inverse] >= max(_COMMON, _COMMON_SHARE * total)
    numbers = np.unique(own["record"][often]).astype(np.int64)
    return _paired(Finding.COMMON, numbers, numbers, config)
