"""What the scores mean, in words: how the report groups and names the keys of `metrics.json`."""

from collections.abc import Mapping

from xfm.config.options import field_texts
from xfm.config.training import LossConfig
from xfm.metrics.calibration import CALIBRATION
from xfm.reports.scores import Score

SPLIT_NAMES = {
    "seen": "unseen scenes of seen objects",
    "combinations": "held-out combinations",
    "objects": "held-out objects",
    "hard": "hard distractors",
    "hard_validation": "hard distractors, validation",
    "test": "test",
    "validation": "validation",
}

HEADLINES = (
    "retrieval/hard/text_r1_matching_relation",
    "retrieval/hard/text_r1_matching",
    "absence/test/phrase_auroc",
    "vqa/combinations/accuracy",
    "reasoning/combinations/accuracy",
    "grounding/combinations/acc50",
    "retrieval/seen/text_r1_rerank",
    "retrieval/seen/image_r1_rerank",
    "vqa/seen/accuracy",
    "reasoning/seen/accuracy",
    "grounding/seen/acc50",
    "masked_token/test/accuracy_right_image",
    "entailment/test/accuracy",
    "category/test/probe_accuracy",
)
"""Scores that say most in few, what a bag of nouns cannot do first; a validation run has them for its own
split."""


NOUNS = "nouns alone"
"""Baseline of retrieval in a world: an oracle that knows sets of kinds and nothing else."""
GROUPS: Mapping[str, tuple[str, str]] = {
    "hard": (
        "Hard distractors",
        "No training. One caption is true of the picture; the others name the same objects, and differ in a "
        "relation, place, size, count or background. Nouns alone tell nothing here.",
    ),
    "absence": (
        "What is not there",
        "No training. The area under the ROC curve of phrases that are false of a picture, and of captions "
        "whose picture is not in the gallery, by the matching head. Baseline: the contrastive score.",
    ),
    "retrieval": (
        "Image-text retrieval",
        "No training. Candidates are ranked by the contrastive score; the best again with the matching "
        "head's odds added (re-ranked). Baseline: an oracle that is told which kinds of objects each caption "
        "and picture has and nothing else, ties broken by chance. Where few share their set of kinds, R@1 "
        "measures a bag of nouns. Held-out objects are near chance by construction: no training picture "
        "shows them.",
    ),
    "vqa": (
        "Question answering",
        "A short fine-tuning, then the answer list is ranked by likelihood. Baselines: the same with the "
        "picture blanked, and the most frequent training answer of the question's kind.",
    ),
    "reasoning": (
        "Two-picture reasoning",
        "A short fine-tuning: is the sentence true of both pictures together? Baselines: the same on text "
        "only, and the larger class.",
    ),
    "grounding": (
        "Grounding",
        "A short fine-tuning on referring phrases. A box is right from IoU 0.5. Baselines: the best constant "
        "box, and the same with the phrase blanked.",
    ),
    "masked_token": (
        "Masked words",
        "No training. The fusion encoder predicts masked content words, without a picture the language "
        "encoder. Baselines: the most frequent masked token; of the right picture the other conditions.",
    ),
    "matching": (
        "Probability of a match",
        "Pictures with their own caption and with another, half of these near by contrast. The expected "
        "calibration error before and after two numbers, fitted on the validation split, scale the matching "
        "head's odds; the area under the ROC curve stays. Its baseline is the contrastive score.",
    ),
    "entailment": (
        "Caption entailment",
        "Language encoder only: a short fine-tuning, and a linear probe on the frozen encoder. Baselines: "
        "the same on the second text alone (hypothesis only), and the larger class.",
    ),
    "paraphrase": (
        "Caption paraphrase",
        "As entailment, with whose model the fine-tuning begins: do both texts say the same?",
    ),
    "category": (
        "Category of objects",
        "Vision encoder only, frozen: linear probe and k-NN, tested on kinds that are not among the probe's "
        "own training rows. Pre-training has pictured, named and categorised them: this is not zero-shot. "
        "Baselines: raw pixels, a randomly initialised encoder, and the largest category.",
    ),
    "digits": ("Handwritten digits", "scikit-learn's digits, enlarged; as the category."),
}
"""Groups of the report (tasks, and the hard splits of retrieval): heading, and how it is measured."""

_PARTS = {"masked_tokens": "Masked words"}
_METRICS = {
    "acc50": "accuracy at IoU 0.5",
    "acc50_zero_shot": "accuracy at IoU 0.5, before fine-tuning",
    "mean_iou": "mean IoU",
    "mean_iou_zero_shot": "mean IoU, before fine-tuning",
    "f1_macro": "mean F1 of the classes",
    "f1_micro": "F1 of all labels",
    "mean_ap": "mean average precision of the labels",
    "exact_match": "rows with all labels right",
    "top5": "right class among the five likeliest",
    "mcc": "Matthews' correlation",
    "calibration_error": "expected calibration error (less is better)",
    "calibration_error_before": "expected calibration error before the fit (less is better)",
    "auroc": "area under the ROC curve",
    "pearson": "correlation (Pearson)",
    "spearman": "rank correlation (Spearman)",
    "r2": "variance explained",
    "word_f1": "F1 of the words",
    "exact": "captions that equal a reference",
    "r1": "R@1",
    "r5": "R@5",
    "r10": "R@10",
    "mrr10": "MRR@10",
    "mean_r1": "R@1, mean of both directions",
    "probe_accuracy": "accuracy of the linear probe",
    "knn_accuracy": "accuracy of k-NN",
    "accuracy_right_image": "given the right picture",
    "accuracy_wrong_image": "given a wrong picture",
    "accuracy_blank_image": "given a blank picture",
    "accuracy_no_image": "given no picture (language encoder)",
    "phrase_auroc": "phrases: area under the ROC curve",
    "phrase_auroc_object": "phrases of one object",
    "phrase_auroc_relation": "phrases of two objects' relation",
    "gallery_auroc": "galleries: area under the ROC curve",
    "rerank_gain": "gain of R@1 from re-ranking, both directions",
}
_STREAMS = {"image": "pictures: ", "pair": "pairs: ", "region": "regions: "}
_RULES = {"rerank": ", re-ranked", "matching": ", by the matching logit alone"}
_DIRECTIONS = {"text": "picture → caption", "image": "caption → picture"}


def metric_name(key: str) -> str:
    """The metric of a key in words: `retrieval/seen/text_r1_rerank` -> picture → caption, R@1, re-ranked."""
    task, _, metric = key.split("/", 2)
    if metric in _METRICS:
        return _METRICS[metric]
    base, _, rule = metric.rpartition("_")
    if base in _METRICS and rule in _RULES:
        return _METRICS[base] + _RULES[rule]
    parts = metric.split("_")
    if task == "retrieval" and parts[0] in _DIRECTIONS and parts[1:2] and parts[1][1:].isdigit():
        rule = "".join(part for part in parts[2:3] if part in _RULES)
        edit = "".join(f", other {part}" for part in parts[2:] if part != rule)
        return f"{_DIRECTIONS[parts[0]]}, R@{parts[1][1:]}{_RULES.get(rule, '')}{edit}"
    if metric.startswith("accuracy_"):
        return f"questions “{metric.removeprefix('accuracy_').replace('_', ' ')}”"
    return metric.replace("_", " ")


def loss_name(name: str) -> str:
    """A pre-training loss in the words of `LossConfig`: `pair/itc` -> pairs: image-text contrast (ITC)."""
    if name == "loss":
        return "total: the weighted sum"
    stream, _, loss = name.rpartition("/")
    text = field_texts(LossConfig).get(loss)
    if text is None:
        return name
    acronym = f" ({loss.upper()})" if loss.isalpha() else ""
    return f"{_STREAMS.get(stream, '')}{text.removesuffix('.')}{acronym}"


def part_name(part: str) -> str:
    """A part of the evaluation in words."""
    return _PARTS.get(part) or title_of(part)


def less_is_better(key: str) -> bool:
    """Whether the score is an error."""
    return CALIBRATION in key.split("/", 2)[2]


def is_share(key: str) -> bool:
    """Whether the score is a share of the cases."""
    metric = key.split("/", 2)[2]
    no_shares = ("mean_", "f1", "mcc", "auroc", "pearson", "spearman", "r2", "word_f1", "calibration_", "mrr")
    return not metric.startswith(no_shares)


def headlines(scores: Mapping[str, Score]) -> list[str]:
    """Keys of the headlines among the scores; without any, all keys of the short tables."""
    keys = {
        found: None
        for task, split, metric in (key.split("/") for key in HEADLINES)
        for own in (split, "validation", f"{split}_validation")
        if (found := f"{task}/{own}/{metric}") in scores
    }
    return [*keys] or [key for key in scores if is_headline(key) and not key.endswith("_gain")]


def is_headline(key: str) -> bool:
    """Whether the key belongs into its group's short table."""
    _, split, metric = key.split("/", 2)
    folded = "rerank" if split.startswith("hard") else "matching"
    extras = ("r5", "r10", folded, "zero_shot", "mean_iou")
    return not any(f"_{extra}" in f"_{metric}" for extra in extras)


def title_of(key: str) -> str:
    """The heading of a key's group; one that the report does not know is called as it is."""
    group = _group_of(key)
    return GROUPS[group][0] if group in GROUPS else group


def _group_of(key: str) -> str:
    return "hard" if key.startswith("retrieval/hard") else key.split("/")[0]


def grouped(scores: Mapping[str, Score]) -> dict[str, list[str]]:
    """Keys by group, in the report's order; other tasks last."""
    found: dict[str, list[str]] = {group: [] for group in GROUPS}
    for key in scores:
        found.setdefault(_group_of(key), []).append(key)
    return {task: keys for task, keys in found.items() if keys}
