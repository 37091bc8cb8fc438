"""Baselines of tasks without classes, which baselines a task has, and running them: none can end a run."""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from xfm.config.tasks import CAPTIONING, GROUNDING, RETRIEVAL, SENTENCE_SIMILARITY, VQA
from xfm.data.tokenizer import normalise_caption
from xfm.finetuning.baselines import classification
from xfm.finetuning.baselines.classification import fit_rows
from xfm.finetuning.baselines.features import LONGEST, BaselinePredictions, Material, TextFeatures
from xfm.finetuning.frozen_features import unit
from xfm.finetuning.probing import has_probe
from xfm.tasks.base import AnyTask
from xfm.tasks.class_task import ClassTask
from xfm.tasks.labelling import OneLabel
from xfm.tasks.rows import Corners, SplitRows
from xfm.tasks.sentence_similarity import Nearest, Scores, TextSearch

ANSWERS = 200
"""The most frequent answers, which the classifier of questions tells apart."""
K1, B = 1.2, 0.75
"""Of BM25: how soon repeats of a word stop to count, and what long texts lose."""


def question_only(material: Material) -> BaselinePredictions:
    """TF-IDF of the question with logistic regression over the most frequent answers."""
    answers = [normalise_caption(row.answer) for row in material.train]
    kept = {answer for answer, _ in Counter(answers).most_common(ANSWERS)}
    if len(kept) < 2:
        return material.predicted(lambda rows: [answers[0]] * len(rows))
    own = [row for row, answer in zip(material.train, answers, strict=True) if answer in kept]
    words = TextFeatures([(row.question,) for row in own], len(kept))
    say, how = fit_rows(
        OneLabel(tuple(sorted(kept))),
        lambda rows: [(normalise_caption(row.answer),) for row in rows],
        replace(material, train=own),
        lambda rows: words([(row.question,) for row in rows]),
    )
    cut = f"the {ANSWERS} most frequent answers" if len(kept) == ANSWERS else ""
    return material.predicted(lambda rows: [one.label for one in say(rows)], how, cut, words.cut)


def box_of_phrase(material: Material) -> BaselinePredictions:
    """The box of the nearest training phrase by TF-IDF; the median box where it occurs several times."""
    boxes: dict[str, list[Corners]] = defaultdict(list)
    for row in material.train:
        boxes[normalise_caption(row.phrase)] += row.boxes
    words = TextFeatures([(phrase,) for phrase in boxes])
    known = words([(phrase,) for phrase in boxes])
    usual = [tuple(np.median(np.array(own), axis=0).tolist()) for own in boxes.values()]

    def answer(rows: Sequence[Any]) -> list[Any]:
        asked = words([(normalise_caption(row.phrase),) for row in rows])
        return [usual[place] for place in _nearest(known, asked)]

    return material.predicted(answer)


def caption_of_neighbour(material: Material) -> BaselinePredictions:
    """The first caption of the training picture that is nearest by frozen features."""
    seen = material.seen
    known = unit(material.rows(material.train, seen.frozen))
    captions = [normalise_caption(row.captions[0]) for row in material.train]

    def answer(rows: Sequence[Any]) -> list[str]:
        own = unit(material.rows(rows, seen.frozen))
        return [captions[place] for place in _nearest(known, own)]

    return material.predicted(answer)


def before_fine_tuning(material: Material) -> BaselinePredictions:
    """The model that the fine-tuning began with; it draws no rows, so that no hard ones are looked for."""
    task, data = material.task, SplitRows(material.train)
    idle = replace(task.settings, hard_negatives=0)
    before = type(task)(material.pretrained, material.pictures, data, idle)
    return material.predicted(before.predict)


def tf_idf(material: Material) -> BaselinePredictions:
    """Cosines of the TF-IDF of words and letters, fitted to the candidates."""

    def scores(search: TextSearch) -> Scores:
        features = TextFeatures([(text,) for text in search.candidates])
        known = features([(text,) for text in search.candidates])
        return lambda block: (features([(text,) for text in search.anchors[block]]) @ known.T).toarray() / 2

    return material.predicted(lambda rows: _ranked(rows, scores))[0], ""  # learns of no training row


def bm25_scores(search: TextSearch) -> Scores:
    """BM25 (Robertson and others, TREC-3, 1994) of all candidates for some anchors, as Lucene has it."""
    import bm25s

    def words(texts: Sequence[str]) -> Any:
        cut, word = [text[:LONGEST] for text in texts], r"\b\w+\b"
        return bm25s.tokenize(cut, True, word, stopwords=[], return_ids=False, show_progress=False)

    known = bm25s.BM25(k1=K1, b=B, method="lucene")
    known.index(words(search.candidates), show_progress=False)

    def scores(block: slice) -> Any:
        asked = map(known.get_tokens_ids, words(search.anchors[block]))
        return np.stack([known.get_scores_from_ids(ids) for ids in asked])

    return scores


def _ranked(rows: Sequence[Any], scores_of: Callable[[TextSearch], Scores]) -> list[Nearest]:
    search = TextSearch.of(rows)
    return search.ranked(scores_of(search))


def _nearest(known: Any, asked: Any, size: int = 256) -> list[int]:
    found: list[NDArray[np.int64]] = []
    for start in range(0, asked.shape[0], size):
        product: Any = asked[start : start + size] @ known.T
        dense = product.toarray() if hasattr(product, "toarray") else product
        found.append(np.asarray(dense).argmax(axis=1))
    return np.concatenate(found).tolist()


PROBE = "linear probe of the frozen features"
"""What `--preset fast` makes a model of."""
Make = Callable[[Material], BaselinePredictions]
_BOTH: Mapping[str, Make] = {
    "text only: TF-IDF + logistic regression": classification.linear_texts,
    "pictures only: linear probe of the frozen features": lambda m: classification.probe_of(m, m.seen.frozen),
    "TF-IDF beside frozen features + logistic regression": classification.both,
    PROBE: classification.probe,
}
_PICTURES: Mapping[str, Make] = {
    PROBE: lambda m: classification.probe_of(m, m.seen.frozen),
    "pixels + logistic regression": lambda m: classification.probe_of(m, m.seen.pixels),
}
_OTHERS: Mapping[str, Mapping[str, Make]] = {
    VQA.name: {"question only: TF-IDF + logistic regression": question_only},
    GROUNDING.name: {"box of the nearest training phrase": box_of_phrase},
    SENTENCE_SIMILARITY.name: {
        "TF-IDF": tf_idf,
        "BM25": lambda m: m.predicted(lambda rows: _ranked(rows, bm25_scores), f"k1 {K1}, b {B}"),
        "the model before fine-tuning": before_fine_tuning,
    },
    RETRIEVAL.name: {"the model before fine-tuning": before_fine_tuning},
    CAPTIONING.name: {"caption of the nearest training picture": caption_of_neighbour},
}


@dataclass(frozen=True)
class BaselineResult:
    """A baseline on the test splits. `per_row` is each row's share of the primary metric, None if it is no
    mean of rows."""

    metrics: Mapping[str, Mapping[str, float]]
    predictions: Mapping[str, list[Any]]
    per_row: Mapping[str, NDArray[np.float64] | None]
    seconds: float | None = None
    note: str = ""


def baselines_of(task: AnyTask) -> Mapping[str, Make]:
    """The baselines of a task by name: those of classes and values follow from what its rows have."""
    spec = task.spec
    if not spec.classes:
        return _OTHERS.get(spec.name, {})
    if spec.has_images:
        found = {} if not isinstance(task, ClassTask) else _BOTH if spec.has_texts else _PICTURES
    else:
        kind = "logistic" if isinstance(task, ClassTask) else "ridge"
        found = {f"TF-IDF + {kind} regression": classification.linear_texts, PROBE: classification.probe}
    return {name: make for name, make in found.items() if name != PROBE or has_probe(spec)}


def strong_baselines(
    material: Material, progress: bool, without: Collection[str] = (), left: float = inf
) -> tuple[dict[str, BaselineResult], dict[str, str]]:
    """Baselines of the task but `without`, and reasons of missing ones; none is begun after `left`
    seconds."""
    start = time.perf_counter()
    made: dict[str, BaselineResult] = {}
    missing: dict[str, str] = {}
    task = material.task
    for name, make in baselines_of(task).items():
        if name in without:
            continue
        began = time.perf_counter()
        if began - start > left:
            missing[name] = "the time limit left none for it"
            continue
        try:
            predictions, note = make(material)
            made[name] = scored(task, material.tests, predictions, time.perf_counter() - began, note)
        except ImportError as error:
            package = (error.name or str(error)).partition(".")[0].replace("sklearn", "scikit-learn")
            missing[name] = f"{package} is not installed: pip install 'xfm[report]'"
        except Exception as error:  # other people's code on other people's data: it may not cost the run
            missing[name] = f"it failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        if progress:
            says = missing.get(name, f"{time.perf_counter() - began:.1f} s")
            tqdm.write(f"Baseline: {name}: {says}", file=sys.stderr)
    return made, missing


def scored(
    task: AnyTask,
    tests: Mapping[str, Sequence[Any]],
    predictions: Mapping[str, list[Any]],
    seconds: float | None = None,
    note: str = "",
) -> BaselineResult:
    """Predictions by split with their scores."""
    return BaselineResult(
        {name: task.metrics(rows, predictions[name]) for name, rows in tests.items()},
        predictions,
        {name: task.row_scores(rows, predictions[name]).get(task.primary) for name, rows in tests.items()},
        seconds,
        note,
    )
