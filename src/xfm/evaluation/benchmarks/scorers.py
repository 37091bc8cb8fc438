"""Official metrics of a benchmark from a task's predictions, and files for its server."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xfm.config.labels import label_name
from xfm.core.errors import UserError
from xfm.evaluation.benchmarks.read.glue import FORMATS, GlueTask
from xfm.metrics.captions import caption_scores
from xfm.metrics.classification import (
    TOP,
    ClassPrediction,
    accuracy,
    f1,
    listed_accuracy,
    matthews,
    mean_class_accuracy,
    pearson,
    share,
    spearman,
)
from xfm.metrics.vqa import vqa_score
from xfm.reports.scores import as_json
from xfm.tasks.base import Metrics
from xfm.tasks.rows import ImageCaptions, Labelled, LabelledText, Question
from xfm.tasks.vqa import kind_key


def consistency(identifiers: Sequence[str], right: Sequence[bool]) -> float:
    """Share of sentences all of whose rows are right; identifiers in the official form."""
    if not identifiers:
        raise ValueError("consistency of nothing is undefined")
    sentences: dict[str, bool] = {}
    for identifier, correct in zip(identifiers, right, strict=True):
        split, pictures, _, sentence = identifier.split("-")  # `dev-850-0-1`: the third is the pair
        sentence = f"{split}-{pictures}-{sentence}"
        sentences[sentence] = sentences.get(sentence, True) and correct
    return sum(sentences.values()) / len(sentences)


Labels = Sequence[str | float]


def glue_metrics(task: GlueTask, predictions: Labels, labels: Labels) -> Metrics:
    """Official metrics of a task, and the means `accuracy_f1` (MRPC, QQP) and `pearson_spearman` (STS-B)."""
    given, known = np.array(predictions), np.array(labels)
    if task is GlueTask.COLA:
        return {"mcc": matthews(given, known)}
    if task is GlueTask.STSB:
        values, targets = given.astype(float), known.astype(float)
        found = {"pearson": pearson(values, targets), "spearman": spearman(values, targets)}
        return found | {"pearson_spearman": (found["pearson"] + found["spearman"]) / 2}
    found = {"accuracy": accuracy(given, known)}
    if task in (GlueTask.MRPC, GlueTask.QQP):
        equal = FORMATS[task].classes[1]
        found["f1"] = f1(given == equal, known == equal)
        found["accuracy_f1"] = (found["accuracy"] + found["f1"]) / 2
    return found


def name_of(prediction: ClassPrediction | str | bool | float) -> str:
    """Name of the predicted class; those of true and false are `true` and `false`."""
    return label_name(prediction.label if isinstance(prediction, ClassPrediction) else prediction)


def score_glue(
    task: GlueTask, rows: Sequence[LabelledText], predictions: Sequence[ClassPrediction | float]
) -> Metrics:
    """The metrics of a task of GLUE."""
    given = [p.label if isinstance(p, ClassPrediction) else float(p) for p in predictions]
    labels = [row.label if isinstance(row.label, float) else str(row.label) for row in rows]
    return glue_metrics(task, given, labels)


def score_truth(rows: Sequence[LabelledText], predictions: Sequence[ClassPrediction | bool]) -> Metrics:
    """Accuracy, and consistency: the share of sentences judged rightly on all of their pictures."""
    right = [name_of(p) == label_name(row.label) for row, p in zip(rows, predictions, strict=True)]
    found = {"accuracy": share(right)}
    if all(row.key is not None for row in rows):
        found["consistency"] = consistency([str(row.key) for row in rows], right)
    return found


def given_answers(row: Question) -> list[str]:
    """The answers of the ten people, from the votes."""
    return [answer for answer, weight in row.votes for _ in range(round(weight * 10))]


def score_answers(rows: Sequence[Question], predictions: Sequence[str]) -> Metrics:
    """The official VQA accuracy, over all questions and by the type of their answer."""
    given = [given_answers(row) for row in rows]
    overall, by_type = vqa_score(predictions, given, [row.kind for row in rows])
    return {"accuracy": overall} | {f"accuracy_{kind_key(kind)}": value for kind, value in by_type.items()}


def score_single_answers(rows: Sequence[Question], predictions: Sequence[str]) -> Metrics:
    """Accuracy of questions with one right answer each, over all of them and by kind."""
    right = {"accuracy": [row.answer == given for row, given in zip(rows, predictions, strict=True)]}
    for row, one in zip(rows, right["accuracy"], strict=True):
        right.setdefault(f"accuracy_{kind_key(row.kind)}", []).append(one)
    return {name: share(found) for name, found in right.items()}


def score_captions(
    rows: Sequence[ImageCaptions], predictions: Sequence[str], briefly: bool = False
) -> Metrics:
    """BLEU, CIDEr-D, ROUGE-L and METEOR, see `caption_scores`; `briefly` without Java, for guesses."""
    said, given = dict(enumerate(predictions)), {at: row.captions for at, row in enumerate(rows)}
    if not briefly:
        return caption_scores(said, given)
    found = caption_scores(said, given, official=False, meteor=False)
    return {name: value for name, value in found.items() if name != "official_words"}


def score_classes(rows: Sequence[Labelled], predictions: Sequence[ClassPrediction]) -> Metrics:
    """Accuracy, its mean over the classes and, of more than five classes, top 5."""
    labels, given = np.array([row.label for row in rows]), np.array([p.label for p in predictions])
    found = {"accuracy": accuracy(given, labels), "mean_per_class": mean_class_accuracy(given, labels)}
    if len(predictions[0].probabilities) > TOP:
        found["top5"] = listed_accuracy([str(row.label) for row in rows], [one.best for one in predictions])
    return found


def vqa_submission(rows: Sequence[Question], answers: Sequence[str]) -> str:
    """`[{"question_id": 1, "answer": "yes"}, ..]`, as the VQA server takes it."""
    return as_json([{"question_id": key, "answer": one} for key, one in _by_key(rows, answers, once=True)])


def caption_submission(rows: Sequence[ImageCaptions], captions: Sequence[str]) -> str:
    """`[{"image_id": 1, "caption": ".."}, ..]`, as the COCO server takes it."""
    return as_json([{"image_id": key, "caption": one} for key, one in _by_key(rows, captions)])


def nlvr2_submission(rows: Sequence[LabelledText], predictions: Sequence[ClassPrediction | bool]) -> str:
    """`identifier,True` a line, as NLVR2's `metrics.py` and leaderboard take it."""
    return "".join(f"{key},{name_of(one) == 'true'}\n" for key, one in _by_key(rows, predictions))


def _by_key(
    rows: Sequence[Question | ImageCaptions | LabelledText], predictions: Sequence[Any], once: bool = False
) -> list[tuple[Any, Any]]:
    keys = [row.key for row in rows]
    if None in keys or (once and len(set(keys)) != len(keys)):
        raise UserError("some rows have no id of their own; read the official files")
    return list(zip(keys, predictions, strict=True))


def glue_submission(task: GlueTask, predictions: Sequence[Any]) -> str:
    """TSV of a test set, `index<tab>prediction`, in the order of the test file; STS-B's values in [0, 5]."""
    layout = FORMATS[task]
    if layout.classes:
        written = {name: str(at) if layout.numbered else name for at, name in enumerate(layout.classes)}
        cells = [written[name_of(prediction)] for prediction in predictions]
    else:
        cells = [f"{min(5.0, max(0.0, float(prediction))):.3f}" for prediction in predictions]
    return "index\tprediction\n" + "".join(f"{index}\t{cell}\n" for index, cell in enumerate(cells))
