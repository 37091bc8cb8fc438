"""Searches without a neural network: BM25 word by word, and what stands beside a run."""

import re
from collections.abc import Sequence
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.tiny import tiny_pretrained, tiny_task
from tests.finetuning.conftest import SHORT, on_table
from tests.reports.written import details_of, page_of
from xfm.finetuning.baselines.features import Material, TooSlow
from xfm.finetuning.baselines.others import K1, B, bm25, bm25_scores, tf_idf
from xfm.tasks.rows import MatchedTexts
from xfm.tasks.sentence_similarity import SentenceSimilarityTask, TextSearch

WORDS = st.lists(st.sampled_from(["parcel", "lamp", "Oslo", "the", "is", "!"]), min_size=1, max_size=7).map(
    " ".join
)


def scored(query: str, texts: Sequence[str]) -> list[float]:
    """BM25 as it is written down, text by text and word by word."""
    said = [re.findall(r"\w+", text.lower()) for text in texts]
    mean = sum(map(len, said)) / len(said)
    found = []
    for words in said:
        score = 0.0
        for word in re.findall(r"\w+", query.lower()):
            having = sum(word in other for other in said)
            repeats = words.count(word)
            if repeats:
                weight = log(1 + (len(said) - having + 0.5) / (having + 0.5))
                score += weight * repeats * (K1 + 1) / (repeats + K1 * (1 - B + B * len(words) / mean))
        found.append(score)
    return found


@given(st.lists(st.builds(MatchedTexts, WORDS, WORDS), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_bm25_is_the_formula(rows: list[MatchedTexts]) -> None:
    search = TextSearch.of(rows)
    found = bm25_scores(search)(slice(0, len(rows)))
    expected = [scored(anchor, search.candidates) for anchor in search.anchors]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def material(rows: list[MatchedTexts], budget: float = 60.0) -> Material:
    task = tiny_task(SentenceSimilarityTask, rows)
    return Material(task, tiny_pretrained(), task.pictures, rows, [], {"test": rows}, budget)


def test_words_in_common_are_found() -> None:
    names = ("parcel", "lamp", "order", "screen")
    rows = [
        MatchedTexts(f"where is the {name}?", f"a {name} is on its way", (f"the {name}s",)) for name in names
    ]
    for make in (tf_idf, bm25):
        found = make(material(rows)).predictions["test"]
        assert max(one.rank for one in found) <= 1
    with pytest.raises(TooSlow, match="0 of 4 searches"):
        bm25(material(rows, -1.0))


def test_a_run_stands_beside_them_and_says_among_how_many(model: Path, tmp_path: Path) -> None:
    """The negatives of a split are candidates of all of its rows."""
    lines = ["anchor,positive,negative"]
    lines += [f"question {n} about w{n},answer {n} with w{n},another {n}" for n in range(40)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    done = on_table(model, tmp_path / "pairs.csv", tmp_path / "out", SHORT, "sentence-similarity")
    rows = len(done.predictions["test"])
    assert details_of(tmp_path / "out")["candidates"] == {"test": 2 * rows}
    assert f"test {2 * rows}" in page_of(tmp_path / "out")
    board = done.leaderboards["test"]
    assert {place.name for place in board.places} >= {"TF-IDF", "BM25", "the model before fine-tuning"}
    score = done.scores["sentence-similarity/test/r1"]
    assert (score.n, score.chance) == (rows, pytest.approx(1 / (2 * rows)))
    assert score.baseline == 1.0
