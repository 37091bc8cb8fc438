"""Questions, boxes, captions and searches."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.data.tokenizer import normalise_caption
from xfm.finetuning.baselines.linear import LabelledRows, logistic
from xfm.finetuning.baselines.material import BaselinePredictions, Material, TooSlow, both_notes
from xfm.finetuning.baselines.texts import TextFeatures
from xfm.finetuning.neighbours import unit
from xfm.tasks.rows import Corners
from xfm.tasks.splits import SplitRows

ANSWERS = 200
"""The most frequent answers, which the classifier of questions tells apart."""


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


def _constant(material: Material, box: tuple[Any, Any, Any, Any]) -> BaselinePredictions:
    corners = tuple(float(number) for number in box)
    return BaselinePredictions(material.predicted(lambda name, rows: [corners] * len(rows)))


def _nearest_texts(material: Material, known: Sequence[str], asked: Sequence[str]) -> list[int]:
    features, distinct = TextFeatures([(text,) for text in known]), list(dict.fromkeys(asked))
    vectors = [features([(text,) for text in texts]) for texts in (known, distinct)]
    found = dict(zip(distinct, _nearest(material, *vectors), strict=True))
    return [found[text] for text in asked]


def _nearest(material: Material, known: Any, asked: Any, size: int = 256) -> list[int]:
    """Place of the known row of largest product for each asked one; of equal ones the first.

    Raises:
        TooSlow: it takes longer than four times the budget.
    """
    found: list[NDArray[np.int64]] = []
    began = time.perf_counter()
    for start in range(0, asked.shape[0], size):
        if (took := time.perf_counter() - began) > 4 * material.budget:
            raise TooSlow(f"{start:,} of {asked.shape[0]:,} searches took {took:.0f} s: stopped")
        product: Any = asked[start : start + size] @ known.T
        dense = product.toarray() if hasattr(product, "toarray") else product
        found.append(np.asarray(dense).argmax(axis=1))
    return np.concatenate(found).tolist()
