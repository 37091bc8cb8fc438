"""Texts that belong together: rows, batches, the search of a split, and what is learned."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import expect_refusal
from tests.tasks.build import COLOURS, build
from xfm.config.finetune import FinetuneConfig
from xfm.data.tables import TableRow
from xfm.finetuning.splits import kept_together
from xfm.finetuning.tuning_run import tune
from xfm.models.folder import Pretrained
from xfm.tasks.rows import CellMeaning, MatchedTexts
from xfm.tasks.sentence_similarity import Nearest, SentenceSimilarityTask, TextSearch

ROWS = [
    MatchedTexts(
        f"a {colour} square", f"it is {colour}", (f"it is {COLOURS[place - 1]}",) if place % 2 else ()
    )
    for place, colour in enumerate(COLOURS)
]
TEXTS = st.sampled_from("abcdef")
MATCHED = st.builds(MatchedTexts, TEXTS, TEXTS, st.lists(TEXTS, max_size=2).map(tuple))


def row(**cells: object) -> TableRow:
    return TableRow(cells, Path("pairs.csv"), 3)


# ---------------------------------------------------------------- rows
def test_negatives_are_a_text_or_a_list_or_none() -> None:
    read = SentenceSimilarityTask.from_row
    for cell, found in (
        (None, ()),
        (" ", ()),
        ("c", ("c",)),
        (["c", "d"], ("c", "d")),
        ('["c", "d"]', ("c", "d")),
    ):
        assert read(row(anchor="a", positive="b", negative=cell), CellMeaning()) == MatchedTexts(
            "a", "b", found
        )
    assert read(row(anchor="a", positive="b"), CellMeaning()) == MatchedTexts("a", "b")


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        ({"anchor": "a", "positive": "b", "negative": ["c", 3]}, ("negative", "list of texts")),
        ({"anchor": "a", "positive": "b", "negative": ["b"]}, ("negative", "it is the positive")),
        ({"anchor": "a", "positive": "b", "negative": ["c"] * 257}, ("negative", "257 texts, more than 256")),
        ({"anchor": "", "positive": "b"}, ("anchor", "is empty")),
        ({"anchor": "a"}, ("positive", "is empty")),
    ],
)
def test_a_bad_cell_is_named(cells: dict[str, object], named: tuple[str, ...]) -> None:
    with expect_refusal("pairs.csv:3", *named):
        SentenceSimilarityTask.from_row(row(**cells), CellMeaning())


def test_rows_of_one_anchor_or_one_positive_are_in_one_split() -> None:
    pairs = [
        MatchedTexts(anchor, positive)
        for anchor, positive in ("ab", "ac", "dc", "ef", "gh", "ij", "kl", "mn")
    ]
    groups = kept_together(SentenceSimilarityTask, pairs)
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 6
    chained = [MatchedTexts(f"{place}", f"{place + 1}") for place in range(8)]
    assert len(set(kept_together(SentenceSimilarityTask, chained))) == 8  # no split would be possible


# ---------------------------------------------------------------- batches
def test_a_batch_holds_positives_first_and_then_every_negative(pretrained: Pretrained) -> None:
    task = build(SentenceSimilarityTask, pretrained, ROWS)
    batch = task.collate(ROWS)
    texts = [task.tokenizer.decode(ids) for ids in batch.candidates.ids]
    assert texts == [one.positive for one in ROWS] + [text for one in ROWS for text in one.negatives]
    ids = batch.candidate_identity
    assert [ids.tolist().index(one) for one in ids[4:].tolist()] == [0, 2]  # they are positives of other rows
    halves = [task.collate(own) for own in (ROWS[:1], ROWS[1:])]
    assert torch.equal(torch.cat([one.anchor_identity for one in halves]), batch.anchor_identity)


# ---------------------------------------------------------------- the search
def counted(rows: Sequence[MatchedTexts], scores: np.ndarray, search: TextSearch) -> list[int]:
    """Ranks, text by text."""
    found = []
    for place, one in enumerate(rows):
        right = {other.positive for other in rows if other.anchor == one.anchor}
        given = dict(zip(search.candidates, scores[place].tolist(), strict=True))
        best = max(given[text] for text in right)
        wrong = [text for text in given if text not in right and text != one.anchor]
        found.append(sum(given[text] >= best for text in wrong))
    return found


@settings(max_examples=80, deadline=None)
@given(rows=st.lists(MATCHED, min_size=1, max_size=8), seed=st.integers(0, 99))
def test_ranks_and_chance_are_those_of_a_count(rows: list[MatchedTexts], seed: int) -> None:
    """Whatever is repeated: equal texts are one candidate, and the anchor's own text is none."""
    search, rng = TextSearch.of(rows), np.random.default_rng(seed)
    assert len({*search.candidates}) == len(search.candidates)
    scores = rng.integers(0, 4, (len(rows), len(search.candidates))).astype(float)
    found = search.ranked(lambda block: scores[block])
    assert [one.rank for one in found] == counted(rows, scores, search)
    perfect = search.right.toarray().astype(float)
    assert {one.rank for one in search.ranked(lambda block: perfect[block])} == {0}
    drawn = [counted(rows, rng.random(scores.shape), search) for _ in range(600)]
    chances = search.chances()
    assert chances["r1"] == pytest.approx(np.mean(np.array(drawn) == 0), abs=0.09)
    ranks = np.array(drawn)
    assert chances["mrr10"] == pytest.approx(np.where(ranks < 10, 1 / (ranks + 1), 0).mean(), abs=0.07)


def test_a_worst_case_says_what_came_first(pretrained: Pretrained) -> None:
    task = build(SentenceSimilarityTask, pretrained, ROWS)
    case = task.case(ROWS[0], Nearest(2, 0.5, "it is blue"))
    assert (case.truth, case.predicted, case.right) == ("it is red", "it is blue", False)
    assert dict(case.texts)["rank of the right text"] == "3"


# ---------------------------------------------------------------- learning
def test_it_learns_what_belongs_together(pretrained: Pretrained) -> None:
    task = build(SentenceSimilarityTask, pretrained, ROWS, max_tokens=16)
    before = task.metrics(ROWS, task.predict(ROWS))
    tune(task, FinetuneConfig(steps=120, batch_size=4, lr=3e-3))
    after = task.metrics(ROWS, task.predict(ROWS, batch_size=3))
    assert after["r1"] == after["mrr10"] == 1.0 > before["mrr10"]
    assert after.keys() == task.chance(ROWS, 0).keys()
    assert task.candidates(ROWS) == 4


def test_predictions_are_cosines_of_the_models_vectors(pretrained: Pretrained) -> None:
    task = build(SentenceSimilarityTask, pretrained, ROWS, max_tokens=16)
    with torch.no_grad():
        anchors, positives = (
            task.module.model.embed_text(tokens.ids, tokens.mask)
            for tokens in (
                task.encode([one.anchor for one in ROWS]),
                task.encode([one.positive for one in ROWS]),
            )
        )
    found = [one.score for one in task.predict(ROWS)]
    assert found == pytest.approx((anchors * positives).sum(-1).tolist(), abs=1e-5)
