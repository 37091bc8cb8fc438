"""The metrics of GLUE's tasks and their published averages."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from xfm.metrics.classification import accuracy, f1, matthews, pearson, spearman
from xfm.reproduce.read.glue import GlueTask
from xfm.tasks.scored import Metrics

Labels = Sequence[str | float]


def glue_metrics(task: GlueTask, predictions: Labels, labels: Labels) -> Metrics:
    """The official metrics of a task on one split.

    CoLA has Matthews' correlation, STS-B Pearson's and Spearman's, MRPC and QQP accuracy and F1 of the
    class of equal meaning, the others accuracy. MRPC also has `accuracy_f1`, STS-B `pearson_spearman`: the
    means that leaderboards print.

    Args:
        task: the task.
        predictions, labels: names of classes as `xfm.reproduce.read.glue` gives them, or values.

    Raises:
        ValueError: there is no row.
    """
    return _METRICS.get(task, _accuracy)(predictions, labels)


def _accuracy(predictions: Labels, labels: Labels) -> Metrics:
    return {"accuracy": accuracy(np.array(predictions), np.array(labels))}


def _matthews(predictions: Labels, labels: Labels) -> Metrics:
    return {"mcc": matthews(np.array(predictions), np.array(labels))}


def _equal_meaning(name: str) -> Callable[[Labels, Labels], Metrics]:
    def metrics(predictions: Labels, labels: Labels) -> Metrics:
        found = _accuracy(predictions, labels)
        found["f1"] = f1(np.array(predictions) == name, np.array(labels) == name)
        return found | {"accuracy_f1": (found["accuracy"] + found["f1"]) / 2}

    return metrics


def _correlations(predictions: Labels, labels: Labels) -> Metrics:
    values, targets = np.array(predictions, dtype=float), np.array(labels, dtype=float)
    found = {"pearson": pearson(values, targets), "spearman": spearman(values, targets)}
    return found | {"pearson_spearman": (found["pearson"] + found["spearman"]) / 2}


_METRICS: Mapping[GlueTask, Callable[[Labels, Labels], Metrics]] = {
    GlueTask.COLA: _matthews,
    GlueTask.MRPC: _equal_meaning("equivalent"),
    GlueTask.QQP: _equal_meaning("duplicate"),
    GlueTask.STSB: _correlations,
}
