"""Baselines of questions, boxes, captions and searches; those of texts without a neural network."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.data.tokenizer import normalise_caption
from xfm.finetuning.baselines.features import (
    LONGEST,
    BaselinePredictions,
    Material,
    TextFeatures,
    TooSlow,
    both_notes,
)
from xfm.finetuning.baselines.linear import LabelledRows, logistic
from xfm.finetuning.frozen_features import unit
from xfm.tasks.rows import Corners, SplitRows
from xfm.tasks.sentence_similarity import Nearest, Scores, TextSearch

ANSWERS = 200
"""The most frequent answers, which the classifier of questions tells apart."""
K1, B = 1.2, 0.75
"""Of BM25, as Lucene has them: how soon repeats of a word stop to count, and what long texts lose."""


def answer_of_question(material: Material) -> BaselinePredictions:
    """The most frequent answer to the same question, or to the nearest one by TF-IDF."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in material.train:
        counts[normalise_caption(row.question)][normalise_caption(row.answer)] += 1
    known = list(counts)
    usual = [min(own.items(), key=lambda item: (-item[1], item[0]))[0] for own in counts.values()]

    def answer(name: str, rows: Sequence[Any]) -> list[str]:
        nearest = _nearest_texts(material, known, [normalise_caption(row.question) for row in rows])
        return [usual[place] for place in nearest]

    return BaselinePredictions(material.predicted(answer), material.note)


def question_only(material: Material) -> BaselinePredictions:
    """TF-IDF of the question with logistic regression over the most frequent answers."""
    answers = [normalise_caption(row.answer) for row in material.train]
    kept = {answer for answer, _ in Counter(answers).most_common(ANSWERS)}
    train = [(row, answer) for row, answer in zip(material.train, answers, strict=True) if answer in kept]
    if len(kept) < 2:
        return BaselinePredictions(
            material.predicted(lambda name, rows: [answers[0]] * len(rows)), material.note
        )
    words = TextFeatures([(row.question,) for row, _ in train], len(kept))
    valid = [(row, normalise_caption(row.answer)) for row in material.valid]

    def rows_of(pairs: Sequence[tuple[Any, str]]) -> LabelledRows:
        features = words([(row.question,) for row, _ in pairs]) if pairs else None
        return LabelledRows(features, np.array([answer for _, answer in pairs], dtype=object))

    fitted = logistic(rows_of(train), rows_of(valid), material.seed, material.budget)

    def answer(name: str, rows: Sequence[Any]) -> list[str]:
        return fitted.model.predict(words([(row.question,) for row in rows])).tolist()

    cut = f"the {ANSWERS} most frequent answers" if len(kept) == ANSWERS else ""
    return BaselinePredictions(
        material.predicted(answer), both_notes(material.note, cut, words.cut), fitted.note
    )


def whole_picture(material: Material) -> BaselinePredictions:
    """The box of everything."""
    return _constant(material, (0.0, 0.0, 1.0, 1.0))


def centre_box(material: Material) -> BaselinePredictions:
    """A box in the centre with the training boxes' median width and height."""
    boxes = np.array([box for row in material.train for box in row.boxes])
    width, height = np.median(boxes[:, 2] - boxes[:, 0]), np.median(boxes[:, 3] - boxes[:, 1])
    return _constant(material, (0.5 - width / 2, 0.5 - height / 2, 0.5 + width / 2, 0.5 + height / 2))


def box_of_phrase(material: Material) -> BaselinePredictions:
    """The box of the nearest training phrase by TF-IDF; the median box where it occurs several times."""
    boxes: dict[str, list[Corners]] = defaultdict(list)
    for row in material.train:
        boxes[normalise_caption(row.phrase)] += row.boxes
    known = list(boxes)
    usual = [tuple(np.median(np.array(own), axis=0).tolist()) for own in boxes.values()]

    def answer(name: str, rows: Sequence[Any]) -> list[Any]:
        nearest = _nearest_texts(material, known, [normalise_caption(row.phrase) for row in rows])
        return [usual[place] for place in nearest]

    return BaselinePredictions(material.predicted(answer), material.note)


def caption_of_neighbour(material: Material) -> BaselinePredictions:
    """The first caption of the training picture that is nearest by frozen features."""
    seen = material.seen
    known = unit(seen.rows([(row.image,) for row in seen.train], seen.frozen))
    captions = [normalise_caption(row.captions[0]) for row in seen.train]

    def answer(name: str, rows: Sequence[Any]) -> list[str]:
        own = unit(seen.rows([(row.image,) for row in rows], seen.frozen))
        return [captions[place] for place in _nearest(material, known, own)]

    return BaselinePredictions(material.predicted(answer), seen.note, shared=seen.seconds)


def before_fine_tuning(material: Material) -> BaselinePredictions:
    """The model that the fine-tuning began with."""
    task, data = material.task, SplitRows(material.train)
    before = type(task)(material.pretrained, material.pictures, data, task.settings)
    return BaselinePredictions(material.predicted(lambda name, rows: before.predict(rows)))


def tf_idf(material: Material) -> BaselinePredictions:
    """Cosines of the TF-IDF of words and letters, fitted to the candidates."""
    cuts: dict[str, None] = {}

    def scores(search: TextSearch) -> Scores:
        features = TextFeatures([(text,) for text in search.candidates])
        known = features([(text,) for text in search.candidates])
        cuts[features.cut] = None
        return lambda block: (features([(text,) for text in search.anchors[block]]) @ known.T).toarray() / 2

    found = _found(material, scores)
    return BaselinePredictions(found, both_notes(*cuts))


def bm25(material: Material) -> BaselinePredictions:
    """The probabilistic ranking function of Robertson and others (TREC-3, 1994), by the candidates' words."""
    return BaselinePredictions(_found(material, bm25_scores), how=f"k1 {K1}, b {B}")


def bm25_scores(search: TextSearch) -> Scores:
    """BM25 of all candidates for some anchors; a word in n of C weighs `log(1 + (C - n + 0.5) / (n + 0.5))`,
    as in Lucene."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import CountVectorizer

    vectors = CountVectorizer(token_pattern=r"(?u)\b\w+\b")
    texts = [text[:LONGEST] for text in search.candidates]
    try:
        counts = csr_array(vectors.fit_transform(texts), dtype=np.float64)  # [C, V]
    except ValueError:  # no candidate has a word
        return lambda block: np.zeros((len(search.anchors[block]), len(texts)))
    having = np.diff(counts.tocsc().indptr)  # [V]
    weights = np.log1p((len(texts) - having + 0.5) / (having + 0.5))
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    damping = K1 * (1 - B + B * lengths / lengths.mean())  # [C]
    rows = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
    repeats = counts.data * (K1 + 1) / (counts.data + damping[rows])
    known = csr_array((repeats * weights[counts.indices], counts.indices, counts.indptr), shape=counts.shape)

    def scores(block: slice) -> Any:
        asked = csr_array(vectors.transform([text[:LONGEST] for text in search.anchors[block]]))
        return (asked.astype(np.float64) @ known.T).toarray()

    return scores


def _found(material: Material, scores_of: Callable[[TextSearch], Scores]) -> dict[str, list[Nearest]]:
    def answer(name: str, rows: Sequence[Any]) -> list[Nearest]:
        began, search = time.perf_counter(), TextSearch.of(rows)
        scores = scores_of(search)

        def in_time(block: slice) -> Any:
            if (took := time.perf_counter() - began) > 4 * material.budget:
                raise TooSlow(f"{block.start:,} of {len(rows):,} searches took {took:.0f} s: stopped")
            return scores(block)

        return search.ranked(in_time)

    return material.predicted(answer)


def _constant(material: Material, box: tuple[Any, Any, Any, Any]) -> BaselinePredictions:
    corners = tuple(float(number) for number in box)
    return BaselinePredictions(material.predicted(lambda name, rows: [corners] * len(rows)))


def _nearest_texts(material: Material, known: Sequence[str], asked: Sequence[str]) -> list[int]:
    features, distinct = TextFeatures([(text,) for text in known]), list(dict.fromkeys(asked))
    vectors = [features([(text,) for text in texts]) for texts in (known, distinct)]
    found = dict(zip(distinct, _nearest(material, *vectors), strict=True))
    return [found[text] for text in asked]


def _nearest(material: Material, known: Any, asked: Any, size: int = 256) -> list[int]:
    found: list[NDArray[np.int64]] = []
    began = time.perf_counter()
    for start in range(0, asked.shape[0], size):
        if (took := time.perf_counter() - began) > 4 * material.budget:
            raise TooSlow(f"{start:,} of {asked.shape[0]:,} searches took {took:.0f} s: stopped")
        product: Any = asked[start : start + size] @ known.T
        dense = product.toarray() if hasattr(product, "toarray") else product
        found.append(np.asarray(dense).argmax(axis=1))
    return np.concatenate(found).tolist()
