"""Caption entailment and paraphrase: linear probe and short fine-tuning of the language encoder."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from xfm.config.evaluation import FineTuneConfig
from xfm.evaluation.context import Context
from xfm.evaluation.examples import TextPairExample, pick_examples, plain
from xfm.evaluation.fine_tuned import fine_tuned
from xfm.frozen.probe import Split, linear_probe, text_features
from xfm.metrics.classification import Array, accuracy, majority_accuracy
from xfm.reports.results import PartResult
from xfm.tasks.base import Blanked, TaskSettings
from xfm.tasks.rows import TRUTH, LabelledText, read_text_pairs
from xfm.tasks.splits import SplitRows
from xfm.tasks.text_classification import TextClassificationTask, encode_texts

SHOWN = 10
HYPOTHESIS = "hypothesis only"


def run_entailment(context: Context) -> PartResult:
    """Does the first text entail the second? See `_text_pairs`."""
    return _text_pairs(context, "entailment", context.config.entailment)


def run_paraphrase(context: Context) -> PartResult:
    """Do both texts say the same? See `_text_pairs`."""
    return _text_pairs(context, "paraphrase", context.config.paraphrase)


def _text_pairs(context: Context, name: str, config: FineTuneConfig) -> PartResult:
    """`accuracy` after fine-tuning and `probe_accuracy` of a linear probe on the frozen token 0.

    Chance is the share of the larger class. Baseline of each: the same training on the second text alone.
    """
    result, seed = PartResult(), context.config.seed
    train = context.rows(read_text_pairs, name, "train", config.train_rows)
    (split,) = context.splits(("test",))
    test = context.rows(read_text_pairs, name, split, config.test_rows)
    labels = np.array([row.label for row in test])

    def build(settings: TaskSettings) -> TextClassificationTask:
        rows = SplitRows(train, labels=TRUTH)
        return TextClassificationTask(context.pretrained, context.pictures, rows, settings)

    tests = {split: test}
    tuned = fine_tuned(context, build, config, tests, keep_as=name)
    baseline = fine_tuned(context, build, config, tests, Blanked.FIRST_TEXT)
    chance, n = majority_accuracy(labels), len(test)
    value, floor = (outcome.metrics[split]["accuracy"] for outcome in (tuned, baseline))
    result.add(f"{name}/{split}/accuracy", value, chance, n, seed, {HYPOTHESIS: floor})
    value, floor = (
        _probe(context, train, test, blanked) for blanked in (Blanked.NOTHING, Blanked.FIRST_TEXT)
    )
    result.add(f"{name}/{split}/probe_accuracy", value, chance, n, seed, {HYPOTHESIS: floor})
    result.curves = {name: tuned.losses, f"{name}, {HYPOTHESIS}": baseline.losses}
    predicted = [choice.label for choice in tuned.predictions[split]]
    right = [row.label == guess for row, guess in zip(test, predicted, strict=True)]
    result.examples[name] = plain(
        [
            TextPairExample(
                test[place].text,
                test[place].second or "",
                test[place].label == TRUTH[True],
                predicted[place] == TRUTH[True],
            )
            for place in pick_examples(right, SHOWN, seed)
        ]
    )
    return result


def _probe(
    context: Context, train: Sequence[LabelledText], test: Sequence[LabelledText], blanked: Blanked
) -> float:
    """Accuracy of a linear probe on the frozen token 0 of the pairs."""
    config = context.config.probe
    train = list(train)[: config.train_rows or None]
    settings = context.settings(context.config.batch_size, blanked)

    def features(rows: Sequence[LabelledText]) -> Array:
        def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for start in range(0, len(rows), settings.batch_size):
                part = rows[start : start + settings.batch_size]
                tokens = encode_texts(part, context.pretrained.tokenizer, settings)
                yield tokens.ids, tokens.mask

        return text_features(context.encoder, batches())

    fit = Split(features(train), np.array([row.label for row in train]))
    held_out = Split(features(test), np.array([row.label for row in test]))
    return accuracy(linear_probe(fit, held_out, config.inverse_penalty, context.config.seed), held_out.labels)
