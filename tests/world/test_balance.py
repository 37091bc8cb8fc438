"""No text alone tells an answer: linear models on bags of words stay near chance."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from xfm.world.scene import Split
from xfm.world.units import MAKERS, Part, Unit, WorkerState

pytest.importorskip("sklearn")
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression


def rows(studio: WorkerState, part: Part, split: Split, count: int) -> list[dict[str, Any]]:
    return MAKERS[part](studio, Unit(part, split, 90, count)).rows


def told(rows: list[dict[str, Any]], text: str, answer: str = "label") -> tuple[list[str], list[Any]]:
    return [row[text] for row in rows], [row[answer] for row in rows]


def accuracy(train: tuple[Sequence[str], Sequence[Any]], test: tuple[Sequence[str], Sequence[Any]]) -> float:
    vectors = CountVectorizer(ngram_range=(1, 2), min_df=2)
    model = LogisticRegression(max_iter=200, C=0.3)
    model.fit(vectors.fit_transform(train[0]), train[1])
    return float(model.score(vectors.transform(test[0]), test[1]))


@pytest.mark.parametrize("part", [Part.ENTAILMENT, Part.PARAPHRASE])
def test_pairs_of_texts(studio: WorkerState, part: Part) -> None:
    train, test = rows(studio, part, Split.TRAIN, 3000), rows(studio, part, Split.TEST, 1000)
    for row in (*train, *test):
        row["both"] = f"{row['text_a']} | {row['text_b']}"
    for view in ("text_a", "text_b", "both"):
        assert 0.44 < accuracy(told(train, view), told(test, view)) < 0.56, view


def test_statements(studio: WorkerState) -> None:
    train = rows(studio, Part.REASONING, Split.TRAIN, 1200)
    test = rows(studio, Part.REASONING, Split.SEEN, 600)
    assert abs(sum(row["label"] for row in test) - 300) <= 4
    assert 0.44 < accuracy(told(train, "text"), told(test, "text")) < 0.56


def test_questions(studio: WorkerState) -> None:
    sizes = {Split.TRAIN: 3000, Split.SEEN: 1000}
    data = [rows(studio, Part.VQA, split, count) for split, count in sizes.items()]
    kinds = Counter(r["kind"] for r in data[0])
    assert min(kinds.values()) > 0.12 * len(data[0])
    limits = {"yes/no": 0.60, "where": 0.25, "how many": 0.45, "colour": 0.35, "what": 0.15}
    for kind, limit in limits.items():
        of_kind = [[r for r in part if r["kind"] == kind] for part in data]
        assert accuracy(*(told(part, "question", "answer") for part in of_kind)) < limit, kind
    answers = Counter(r["answer"] for r in data[0] if r["kind"] == "yes/no")
    assert abs(answers["yes"] - answers["no"]) < 0.12 * sum(answers.values())
