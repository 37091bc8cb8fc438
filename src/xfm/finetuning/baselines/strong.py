"""Which baselines a kind of task has, and running them so that none can end the fine-tuning."""

import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from xfm.config.tasks import CAPTIONING, GROUNDING, RETRIEVAL, SENTENCE_SIMILARITY, VQA
from xfm.finetuning.baselines import classification, others
from xfm.finetuning.baselines.features import BaselinePredictions, Material
from xfm.finetuning.probing import has_probe
from xfm.tasks.base import Task
from xfm.tasks.class_task import ClassTask

PROBE = "linear probe of the frozen features"
"""What `--preset fast` makes a model of."""
Make = Callable[[Material], BaselinePredictions]
_BOTH: Mapping[str, Make] = {
    "text only: TF-IDF + logistic regression": classification.linear_texts,
    "pictures only: linear probe of the frozen features": classification.linear_pictures,
    "TF-IDF beside frozen features + logistic regression": classification.both,
    PROBE: classification.probe,
}
_TEXTS: Mapping[str, Make] = {
    "TF-IDF + logistic regression": classification.linear_texts,
    PROBE: classification.probe,
}
_PICTURES: Mapping[str, Make] = {
    PROBE: classification.probe_of_pictures,
    "k-NN of the frozen features": classification.neighbours,
    "pixels + logistic regression": classification.pixels,
}
_VALUES: Mapping[str, Make] = {
    "TF-IDF + ridge regression": classification.linear_texts,
    PROBE: classification.probe,
}
_OTHERS: Mapping[str, Mapping[str, Make]] = MappingProxyType(
    {
        VQA.name: {
            "answer of the nearest training question": others.answer_of_question,
            "question only: TF-IDF + logistic regression": others.question_only,
        },
        GROUNDING.name: {
            "whole picture": others.whole_picture,
            "centre box of median size": others.centre_box,
            "box of the nearest training phrase": others.box_of_phrase,
        },
        SENTENCE_SIMILARITY.name: {
            "TF-IDF": others.tf_idf,
            "BM25": others.bm25,
            "the model before fine-tuning": others.before_fine_tuning,
        },
        RETRIEVAL.name: {"the model before fine-tuning": others.before_fine_tuning},
        CAPTIONING.name: {"caption of the nearest training picture": others.caption_of_neighbour},
    }
)


@dataclass(frozen=True)
class BaselineResult:
    """A baseline on the test splits. `per_row` is each row's share of the primary metric, None if it is no
    mean of rows."""

    metrics: Mapping[str, Mapping[str, float]]
    predictions: Mapping[str, list[Any]]
    per_row: Mapping[str, NDArray[np.float64] | None]
    seconds: float | None = None
    note: str = ""


def baselines_of(task: Task[Any, Any, Any]) -> Mapping[str, Make]:
    """The baselines of a task by name: those of classes and values follow from what its rows have."""
    spec = task.spec
    if not spec.classes:
        return _OTHERS.get(spec.name, {})
    if isinstance(task, ClassTask):
        found = _PICTURES if not spec.has_texts else _BOTH if spec.has_pictures else _TEXTS
    else:
        found = {} if spec.has_pictures else _VALUES
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
            encoded = "seen" in vars(material)
            predictions, note, shared = make(material)
            seconds = time.perf_counter() - began + (shared if encoded else 0.0)
            made[name] = scored(task, material.tests, predictions, seconds, note)
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
    task: Task[Any, Any, Any],
    tests: Mapping[str, Sequence[Any]],
    predictions: Mapping[str, list[Any]],
    seconds: float | None = None,
    note: str = "",
) -> BaselineResult:
    """Predictions by split with their scores."""
    return BaselineResult(
        {name: task.metrics(rows, predictions[name]) for name, rows in tests.items()},
        predictions,
        {name: task.per_row(rows, predictions[name]) for name, rows in tests.items()},
        seconds,
        note,
    )
