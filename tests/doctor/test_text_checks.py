"""Texts that teach nothing, or something wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfm.corpora.doctor.checks import text_flaws
from xfm.corpora.doctor.findings import Finding
from xfm.data.tokenizer import normalise_caption

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


def test_limits_that_somebody_gives() -> None:
    text = "one two three four"
    assert [one.finding for one in text_flaws(text, caption=False, max_words=3)] == [Finding.LONG_TEXT]
    assert [*text_flaws(text, caption=False, max_words=4)] == []


def test_a_text_of_megabytes_is_judged_at_once() -> None:
    text = "<p " * 700_000 + "&" * 700_000 + "a" * 11
    assert [one.finding for one in text_flaws(text, caption=False)] == [Finding.LONG_TEXT, Finding.REPEATING]
