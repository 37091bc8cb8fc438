"""The official rule, written down again."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.evaluation.benchmarks.scorers import consistency, sentence_id


def by_the_book(rows: list[tuple[str, bool]]) -> float:
    of_rows = [identifier.replace(f"-{identifier.split('-')[2]}-", "-@-", 1) for identifier, _ in rows]
    wrong = {sentence for sentence, (_, ok) in zip(of_rows, rows, strict=True) if not ok}
    return 1 - len(wrong) / len(set(of_rows))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**16))
def test_a_sentence_counts_where_all_its_pictures_are_right(seed: int) -> None:
    rng = random.Random(seed)
    rows = [
        (f"dev-{rng.randrange(100, 104)}-{pair}-{rng.randrange(2)}", rng.random() < 0.8)
        for pair in range(rng.randint(1, 12))
    ]
    assert consistency(*map(list, zip(*rows, strict=True))) == pytest.approx(by_the_book(rows))


def test_sentences_of_both_corpora() -> None:
    assert sentence_id("test1-12-3-1") == "test1-12-1"
    assert sentence_id("4055-3") == "4055"
    assert sentence_id("dev-1-0-0") != sentence_id("dev-1-0-1")
    with pytest.raises(ValueError, match="neither"):
        sentence_id("4055")
