"""What the doctor counts: the same however records are parted, as all comparisons say, of any text."""

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfm.config.corpora import DoctorConfig
from xfm.corpora.doctor.checks import text_flaws
from xfm.corpora.doctor.examination import PICTURE, RECORD, found_together
from xfm.corpora.doctor.findings import EDGES, Finding, Issue, Statistics, distribution
from xfm.data.tokenizer import normalise_caption

MOST = 3


def tallied(numbers: list[int], values: list[int]) -> Statistics:
    tally = Statistics(MOST)
    for number in numbers:
        value = values[number]
        tally.measure("value", value)
        tally.labels[str(value % 3)] += 1
        tally.find([Issue(Finding.SMALL, str(value), value)] if value % 2 else [], number)
    return pickle.loads(pickle.dumps(tally))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=80), st.data())
def test_parts_in_any_order_give_the_same(values: list[int], data: st.DataObject) -> None:
    numbers = data.draw(st.permutations(range(len(values))))
    edge = data.draw(st.integers(0, len(values)))
    whole, joined = Statistics(MOST), Statistics(MOST)
    whole.join(tallied([*range(len(values))], values))
    for part in (numbers[edge:], numbers[:edge]):
        joined.join(tallied([*part], values))
    assert joined == whole
    worst = sorted((value for value in values if value % 2), reverse=True)[:MOST]
    assert [-one[0] for one in whole.examples.get(Finding.SMALL, ())] == worst


@given(st.lists(st.floats(0, 1e8), min_size=1, max_size=60))
def test_bins_hold_every_value(values: list[float]) -> None:
    found = distribution(Counter(values))
    assert (found["count"], found["least"], found["most"]) == (len(values), min(values), max(values))
    assert sum(found["from"].values()) == len(values)
    edges = [f"{edge:g}" for edge in EDGES]
    for edge, count in found["from"].items():
        place = edges.index(edge)
        beyond = EDGES[place + 1] if place + 1 < len(EDGES) else float("inf")
        assert count == sum(EDGES[place] <= value < beyond for value in values)


# ------------------------------------------------------------------ duplicates
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
    groups = found_together(records, pictures, DoctorConfig(distance=2))
    found = {finding: (numbers.tolist(), others.tolist()) for finding, numbers, others in groups}
    twice = [n for n, (key, _) in enumerate(rows) if key and key in [one for one, _ in rows[:n]]]
    assert found[Finding.TWICE][0] == twice
    for number, other in zip(*found[Finding.TWICE], strict=True):
        assert other < number
        assert rows[other][0] == rows[number][0]
    against = []
    for number, (key, asked) in enumerate(rows):
        before = [one for one, own in rows[:number] if own == asked]
        against += [number] if asked and before and before[0] != key else []
    assert found[Finding.CONTRADICTION][0] == against
    alike, kept = [], []
    for place, (digest, _) in enumerate(seen):
        if digest in [one for one, _ in kept]:
            continue
        if any((looks[digest] ^ word).bit_count() <= 2 for _, word in kept):
            alike.append(place)
        kept.append((digest, looks[digest]))
    assert found[Finding.ALIKE][0] == alike
    for number, other in zip(*found[Finding.ALIKE], strict=True):
        assert other < number
        assert (looks[seen[number][0]] ^ looks[seen[other][0]]).bit_count() <= 2


# ------------------------------------------------------------------ texts
GOOD = [
    "A plate of food.",
    "Ein Mädchen, das über die Straße läuft: „Größe“, »Ø«, „Ä“",
    "São Paulo: ação, coração, SÃO JOÃO",
    "Ñandú, señor, ÑAÑA, Ångström, ÄÖÜ",
    "если a < b и b > c, то 3 & 4",
    "日本語の文章です。",
    "a dog and a cat and a dog and another cat in the park by the river",
    "10 km/h",
    "no. 7",
]
BAD = {
    Finding.EMPTY_TEXT: ["", "  ", "...", "\n"],
    Finding.ONE_CHARACTER: ["a", " x "],
    Finding.NO_LETTERS: ["123", "2014-05-06 12:30", "(7)"],
    Finding.REPEATING: ["buy now " * 10, "la " * 30, "aaaaaaaaaaaaaaaaaaaaah"],
    Finding.HTML: ["a <b>dog</b>", "cats &amp; dogs", 'see <a href="x">this</a>', "one<br/>two", "caf&#233;"],
    Finding.ENCODING: [
        "cafÃ© au lait",
        "itâ€™s a dog",
        "a dog\ufffd",
        "Â£5 notes",
        "привет, мир".encode().decode("latin-1"),
        "a\x00b cd",
    ],
    Finding.LONG_TEXT: [" ".join(f"word{number}" for number in range(201))],
}


@pytest.mark.parametrize("text", GOOD)
def test_nothing_is_wrong_with_good_texts(text: str) -> None:
    assert [*text_flaws(text, caption=True)] == []


@pytest.mark.parametrize(("finding", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_what_is_wrong_is_found_and_nothing_else(finding: Finding, text: str) -> None:
    assert [one.finding for one in text_flaws(text, caption=True)] == [finding]


@given(st.text(alphabet=st.characters(min_codepoint=0xA1, max_codepoint=0x7FF), min_size=2, max_size=20))
def test_utf_8_that_was_read_as_latin_1_is_found(text: str) -> None:
    """Of letters that take two bytes."""
    garbled = text.encode().decode("latin-1")
    assert Finding.ENCODING in {one.finding for one in text_flaws(f"a {garbled} b", caption=True)}


@given(st.text(max_size=300), st.booleans())
def test_any_text_is_judged(text: str, caption: bool) -> None:
    """Captions without words are empty, as in training."""
    found = [one.finding for one in text_flaws(text, caption)]
    bare = normalise_caption(text, 1) if caption else text.strip()
    assert (Finding.EMPTY_TEXT in found) == (not bare)
    assert len(found) == len(set(found))


def test_a_text_of_megabytes_is_judged_at_once() -> None:
    text = "<p " * 700_000 + "&" * 700_000 + "a" * 11
    assert [one.finding for one in text_flaws(text, caption=False)] == [Finding.LONG_TEXT, Finding.REPEATING]
