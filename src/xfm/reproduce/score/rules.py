"""From the predictions of a task to the official metrics of a benchmark."""

from collections.abc import Sequence

import numpy as np

from xfm.config.labels import label_name
from xfm.metrics.captions import WordCutter, caption_scores
from xfm.metrics.classes import Choice
from xfm.metrics.classification import (
    TOP,
    accuracy,
    area_under_roc,
    listed_accuracy,
    mean_class_accuracy,
    share,
)
from xfm.metrics.consistency import consistency
from xfm.metrics.vqa import vqa_score
from xfm.reproduce.read.glue import GlueTask
from xfm.reproduce.score.glue import glue_metrics
from xfm.tasks.rows import Described, Labelled, LabelledPictureText, LabelledText, PicturePair, Question
from xfm.tasks.scored import Metrics, Scorer
from xfm.tasks.vqa import kind_key

_VOTES = 10


def name_of(prediction: Choice | str | bool | float) -> str:
    """The predicted class by name; true and false have these names."""
    return label_name(prediction.label if isinstance(prediction, Choice) else prediction)


def glue_scorer(task: GlueTask) -> Scorer:
    """The metrics of a task of GLUE."""

    def score(rows: Sequence[LabelledText], predictions: Sequence[Choice | float]) -> Metrics:
        given = [p.label if isinstance(p, Choice) else float(p) for p in predictions]
        labels = [row.label if isinstance(row.label, float) else str(row.label) for row in rows]
        return glue_metrics(task, given, labels)

    return score


def score_truth(
    rows: Sequence[PicturePair | LabelledPictureText], predictions: Sequence[Choice | bool]
) -> Metrics:
    """Accuracy, and consistency: the share of sentences judged rightly on all of their pictures."""
    truth = [row.label if isinstance(row.label, bool) else str(row.label) for row in rows]
    right = [name_of(p) == label_name(label) for label, p in zip(truth, predictions, strict=True)]
    found = {"accuracy": share(right)}
    if all(row.key is not None for row in rows):
        found["consistency"] = consistency([str(row.key) for row in rows], right)
    return found


def pair_scorer(classes: Sequence[str]) -> Scorer:
    """Accuracy and, of two classes, the area under the ROC curve of the second one's probability."""

    def score(rows: Sequence[LabelledPictureText], predictions: Sequence[Choice]) -> Metrics:
        labels = np.array([row.label for row in rows])
        found = {"accuracy": accuracy(np.array([p.label for p in predictions]), labels)}
        if len(classes) == 2:
            probabilities = np.array([p.probabilities[1] for p in predictions])
            found["auroc"] = area_under_roc(probabilities, labels == classes[1])
        return found

    return score


def given_answers(row: Question) -> list[str]:
    """The answers of the ten people, from the votes: each distinct one as often as it was given."""
    return [answer for answer, weight in row.votes for _ in range(round(weight * _VOTES))]


def score_answers(rows: Sequence[Question], predictions: Sequence[str]) -> Metrics:
    """The official VQA accuracy, over all questions and by the type of their answer."""
    found = vqa_score(predictions, [given_answers(row) for row in rows], [row.kind for row in rows])
    by_type = {f"accuracy_{kind_key(kind)}": value for kind, value in found.by_answer_type.items()}
    return {"accuracy": found.overall, **by_type}


def score_single_answers(rows: Sequence[Question], predictions: Sequence[str]) -> Metrics:
    """Accuracy of questions with one right answer each, over all of them and by kind."""
    right = {"accuracy": [row.answer == given for row, given in zip(rows, predictions, strict=True)]}
    for row, one in zip(rows, right["accuracy"], strict=True):
        right.setdefault(f"accuracy_{kind_key(row.kind)}", []).append(one)
    return {name: share(found) for name, found in right.items()}


def score_captions(rows: Sequence[Described], predictions: Sequence[str]) -> Metrics:
    """BLEU, CIDEr-D, ROUGE-L and METEOR; `official_words` is 1 where the official tokenizer cut the words."""
    found = caption_scores(*_by_place(rows, predictions))
    return {**found.values, "official_words": float(found.is_official)}


def score_captions_briefly(rows: Sequence[Described], predictions: Sequence[str]) -> Metrics:
    """The same without Java, for guesses."""
    return dict(caption_scores(*_by_place(rows, predictions), WordCutter.PLAIN, meteor=False).values)


def _by_place(
    rows: Sequence[Described], predictions: Sequence[str]
) -> tuple[dict[int | str, str], dict[int | str, Sequence[str]]]:
    predicted: dict[int | str, str] = dict(enumerate(predictions))
    given: dict[int | str, Sequence[str]] = {place: row.captions for place, row in enumerate(rows)}
    return predicted, given


def score_classes(rows: Sequence[Labelled], predictions: Sequence[Choice]) -> Metrics:
    """Accuracy, its mean over the classes and, of more than five classes, top 5."""
    labels, given = np.array([row.label for row in rows]), np.array([p.label for p in predictions])
    found = {"accuracy": accuracy(given, labels), "mean_per_class": mean_class_accuracy(given, labels)}
    if len(predictions[0].probabilities) > TOP:
        found["top5"] = listed_accuracy([str(row.label) for row in rows], [one.best for one in predictions])
    return found
