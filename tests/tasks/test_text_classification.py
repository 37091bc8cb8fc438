"""Texts alone: one and two, classes and values, texts that belong together; and tasks that learn by heart."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from tests.alike import thorough
from tests.tasks.build import COLOURS, PAIRS, SINGLE, build
from xfm.config.finetune import FinetuneConfig
from xfm.config.tasks import task_spec
from xfm.data.tables import TableRow
from xfm.finetuning.data import kept_together
from xfm.finetuning.split_scores import groups_of
from xfm.finetuning.tuning_run import tune
from xfm.models.folder import Pretrained
from xfm.tasks.base import Task
from xfm.tasks.rows import TRUTH, CellMeaning, LabelledText, MatchedTexts
from xfm.tasks.sentence_similarity import SentenceSimilarityTask, TextSearch
from xfm.tasks.text_classification import TextClassificationTask, TextRegressionTask


def test_pairs_of_the_same_texts_are_no_independent_rows(pretrained: Pretrained) -> None:
    """The four pairs that two firsts and two seconds make are one group."""
    crossed = [
        LabelledText(f"{design} {first}", TRUTH[first == second], f"{design} so {second}")
        for design in ("cat", "dog", "sun")
        for first in range(2)
        for second in range(2)
    ]
    task = build(TextClassificationTask, pretrained, crossed, TRUTH)
    assert groups_of(task, crossed).tolist() == np.repeat([0, 1, 2], 4).tolist()
    alone = [LabelledText(row.text, row.label) for row in crossed]
    assert groups_of(task, alone).tolist() == list(range(12))


def test_the_pretrained_model_stays_and_its_copy_learns(pretrained: Pretrained) -> None:
    before = {name: value.clone() for name, value in pretrained.model.state_dict().items()}
    task = build(TextClassificationTask, pretrained, PAIRS, TRUTH)
    task.loss(task.collate(PAIRS[:4]), torch.Generator()).total.backward()
    missing = [n for n, p in task.module.language.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in missing if not name.endswith(("qkv.bias", "token_type"))]
    tune(task, FinetuneConfig(steps=2, batch_size=8, lr=3e-3))
    for name, value in pretrained.model.state_dict().items():
        assert torch.equal(before[name], value), f"fine-tuning changed the pre-trained {name}"


# ---------------------------------------------------------------- values
def values(scale: float, shift: float) -> list[LabelledText]:
    return [replace(row, label=shift + scale * COLOURS.index(str(row.label))) for row in SINGLE]


@thorough
def test_values_of_any_scale_are_learned(pretrained: Pretrained) -> None:
    """The same predictions before and after the scale is worked into the last layer."""
    rows, scale = values(scale=1e-3, shift=-5.0), 1e-3
    task = build(TextRegressionTask, pretrained, rows)
    tune(task, FinetuneConfig(steps=150, batch_size=8, lr=3e-3))
    before = task.predict(rows)
    metrics = task.metrics(rows, before)
    assert min(metrics["pearson"], metrics["r2"]) > 0.95
    task.finish()
    np.testing.assert_allclose(task.predict(rows), before, rtol=1e-4, atol=1e-2 * scale)
    batch = task.collate(rows)
    with torch.no_grad():
        plain = task.module.eval()(tokens=batch.tokens)[:, 0]
    np.testing.assert_allclose(plain.numpy(), before, rtol=1e-4, atol=1e-2 * scale)


def test_correlations_are_those_of_scipy(pretrained: Pretrained) -> None:
    rows = values(1.0, 0.0)
    task = build(TextRegressionTask, pretrained, rows)
    guessed = np.random.default_rng(0).normal(size=len(rows)).tolist()
    truth = [float(row.label) for row in rows]
    found = task.metrics(rows, guessed)
    assert found["pearson"] == pytest.approx(pearsonr(truth, guessed)[0])
    assert found["spearman"] == pytest.approx(spearmanr(truth, guessed)[0])
    constant = task.metrics(rows, task.constants(rows)["mean of the training rows"])
    assert constant == {"pearson": 0.0, "spearman": 0.0, "r2": pytest.approx(0.0)}
    equal = [replace(row, label=2.0) for row in rows]
    assert build(TextRegressionTask, pretrained, equal).metrics(equal, guessed)["pearson"] == 0.0


def learned(task: Task[Any, Any, Any], rows: list[Any], steps: int) -> tuple[float, dict[str, float]]:
    """The share of the loss that is left, and the metrics."""
    tuning = tune(task, FinetuneConfig(steps=steps, batch_size=task.settings.batch_size, lr=3e-3))
    return tuning.losses[-1] / tuning.losses[0], task.metrics(rows, task.predict(rows))


@thorough
@pytest.mark.parametrize(
    ("kind", "steps", "loss", "perfect"),
    [
        pytest.param("vqa", 120, 0.1, {"accuracy", "accuracy_which_left", "accuracy_which_right"}, id="vqa"),
        pytest.param("reasoning", 250, 0.2, {"accuracy"}, id="reasoning", marks=thorough),
        pytest.param("grounding", 150, 0.3, {"acc50"}, id="grounding", marks=thorough),
        pytest.param("captioning", 250, 0.3, {"word_f1", "exact"}, id="captioning", marks=thorough),
    ],
)
def test_rows_of_the_world(pretrained, tiny_world, kind, steps, loss, perfect):
    task = task_spec(kind).task_class()
    file = "retrieval/validation" if kind == "captioning" else f"{kind}/train"
    rows = task.read(tiny_world / f"tasks/{file}.jsonl")[:8]
    settings = {"prompt": "a picture of"} if kind == "captioning" else {}  # it is no part of what is written
    left, metrics = learned(build(task, pretrained, rows, max_tokens=24, **settings), rows, steps)
    assert left < loss
    assert {name: metrics[name] for name in perfect} == dict.fromkeys(perfect, 1.0)


@pytest.mark.parametrize(
    "rows", [pytest.param(SINGLE, id="one text", marks=thorough), pytest.param(PAIRS, id="two texts")]
)
def test_texts(pretrained: Pretrained, rows: list[LabelledText]) -> None:
    labels = tuple(sorted({str(row.label) for row in rows}))
    _, metrics = learned(build(TextClassificationTask, pretrained, rows, labels), rows, 250)
    assert metrics["accuracy"] == metrics["f1_macro"] == 1.0
    assert ("auroc" in metrics) == (len(labels) == 2)


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
        given = row(anchor="a", positive="b", negative=cell)
        assert read(given, CellMeaning()) == MatchedTexts("a", "b", found)
    assert read(row(anchor="a", positive="b"), CellMeaning()) == MatchedTexts("a", "b")


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


@settings(max_examples=80)
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


# ---------------------------------------------------------------- learning
@thorough
def test_it_learns_what_belongs_together(pretrained: Pretrained) -> None:
    task = build(SentenceSimilarityTask, pretrained, ROWS, max_tokens=16)
    before = task.metrics(ROWS, task.predict(ROWS))
    tune(task, FinetuneConfig(steps=120, batch_size=4, lr=3e-3))
    after = task.metrics(ROWS, task.predict(ROWS, batch_size=3))
    assert after["r1"] == after["mrr10"] == 1.0 > before["mrr10"]
    assert after.keys() == task.chance(ROWS, 0).keys()


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
