"""What all records together show, beside comparing each with all others."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xfm.config.doctor import DoctorConfig
from xfm.corpora.doctor.examination import PICTURE, RECORD, SAID, found_together, rare_classes
from xfm.corpora.doctor.findings import Finding

keys = st.integers(0, 4)
WORDS = (0, 3, 0xFF, 0xFF00FF, 2**64 - 1)


@given(
    st.lists(st.tuples(keys, keys), max_size=30),
    st.lists(st.tuples(keys, st.sampled_from(WORDS)), max_size=20),
)
def test_pairs_are_those_of_all_comparisons(rows: list[tuple[int, int]], seen: list[tuple[int, int]]) -> None:
    records = np.array([(key, asked, 0) for key, asked in rows], RECORD)
    looks = dict(seen)  # a picture has one hash
    pictures = np.array(
        [(place, digest + 1, looks[digest]) for place, (digest, _) in enumerate(seen)], PICTURE
    )
    found = {
        one.finding: one
        for one in found_together(records, pictures, np.empty(0, SAID), DoctorConfig(distance=2))
    }
    twice = [n for n, (key, _) in enumerate(rows) if key and key in [one for one, _ in rows[:n]]]
    assert found[Finding.TWICE].records.tolist() == twice
    for number, other in found[Finding.TWICE].examples:
        assert other < number
        assert rows[other][0] == rows[number][0]
    against = []
    for number, (key, asked) in enumerate(rows):
        before = [one for one, own in rows[:number] if own == asked]
        against += [number] if asked and before and before[0] != key else []
    assert found[Finding.CONTRADICTION].records.tolist() == against
    alike, kept = [], []
    for place, (digest, _) in enumerate(seen):
        if digest in [one for one, _ in kept]:
            continue
        if any((looks[digest] ^ word).bit_count() <= 2 for _, word in kept):
            alike.append(place)
        kept.append((digest, looks[digest]))
    assert found[Finding.ALIKE].records.tolist() == alike


def test_a_text_is_common_where_many_have_it() -> None:
    said = np.array([(n, 7) for n in range(10)] + [(n, 8) for n in range(9)] + [(3, 7)], SAID)
    empty = np.empty(0, PICTURE)
    for total, expected in ((20, [*range(10)]), (2000, [])):
        found = [*found_together(np.zeros(total, RECORD), empty, said, DoctorConfig())][-1]
        assert (found.finding, found.records.tolist()) == (Finding.COMMON, expected)


def test_values_are_no_classes() -> None:
    assert rare_classes(Counter({"a": 9, "b": 4}), 5) == {"b": 4}
    assert rare_classes(Counter({f"{n / 10}": 1 for n in range(60)}), 5) == {}
    assert rare_classes(Counter({f"answer {n}": 1 for n in range(2000)}), 5) == {}
