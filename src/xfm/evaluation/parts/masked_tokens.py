"""Masked words of captions, given the right picture, a wrong one, a blank one, none."""

from itertools import groupby

import numpy as np
import torch

from xfm.evaluation.context import Context
from xfm.evaluation.examples import MaskedExample, pick_examples, plain_examples
from xfm.evaluation.masked_tokens import MaskedCaptions, mask_captions, predict_masked
from xfm.metrics.classification import Array, chance_of_classes, majority_accuracy
from xfm.metrics.intervals import row_groups
from xfm.modeling.features import encode_images
from xfm.reports.results import PartResult
from xfm.tasks.rows import MaskedRow
from xfm.tasks.world_files import read_masked

SHOWN = 8


def run_masked_tokens(context: Context) -> PartResult:
    """Accuracy over masked tokens of content words; the masks are the same for all conditions.

    `accuracy_no_image` asks the language encoder and its own token head, which never see a picture;
    `accuracy_blank_image` asks the fusion encoder with a picture of the mean colour. Chance is one
    token of the vocabulary. Baselines: the most frequent masked token, and for the right picture the other
    conditions.
    """
    config, result = context.config, PartResult()
    (split,) = context.splits(("test",))
    rows = context.rows(read_masked, "masked_token", split, config.masked_rows)
    tokenizer = context.pretrained.tokenizer
    masked = mask_captions(tokenizer, [row.caption for row in rows], config.masked_share, config.seed)
    targets = masked.targets.numpy()
    images, index = context.encode([row.image for row in rows] + [row.wrong_image for row in rows])
    blank, blank_index = context.pictures.blank(len(rows))
    shown = {
        "right_image": (images, index[: len(rows)]),
        "wrong_image": (images, index[len(rows) :]),
        "blank_image": (encode_images(context.encoder, [blank], 1), blank_index),
        "no_image": None,
    }
    conditions = predict_masked(context.encoder, masked, list(shown.values()))
    predicted: dict[str, Array] = dict(zip(shown, conditions, strict=True))
    right = {name: (found == targets).astype(np.float64) for name, found in predicted.items()}
    accuracies = {name: float(own.mean()) for name, own in right.items()}
    others = {
        name.replace("_image", " picture"): value
        for name, value in accuracies.items()
        if name != "right_image"
    }
    groups = row_groups(masked.rows_of_targets().tolist())  # words of one caption are not independent
    chance = chance_of_classes(tokenizer.vocab_size)["accuracy"]
    usual = {"most frequent token": majority_accuracy(targets)}
    for name, own in right.items():
        floors = usual | (others if name == "right_image" else {})
        result.add_rows(f"masked_token/{split}/accuracy_{name}", own, groups, chance, config.seed, floors)
    result.examples["masked_token"] = plain_examples(_examples(context, rows, masked, predicted))
    return result


def _examples(
    context: Context, rows: list[MaskedRow], masked: MaskedCaptions, predicted: dict[str, Array]
) -> list[MaskedExample]:
    tokenizer = context.pretrained.tokenizer
    owners, targets = masked.rows_of_targets().numpy(), masked.targets.numpy()

    def words(ids: Array) -> list[str]:
        return [tokenizer.decode([token]).strip() for token in ids.tolist()]

    examples: list[MaskedExample] = []
    right = [bool((predicted["right_image"] == targets)[owners == row].all()) for row in range(len(rows))]
    for place in pick_examples(right, SHOWN, context.config.seed):
        ids, mask = masked.tokens.ids[place], masked.tokens.mask[place]
        here = owners == place
        examples.append(
            MaskedExample(
                image=context.relative(rows[place].image),
                wrong_image=context.relative(rows[place].wrong_image),
                caption=_with_gaps(context, ids[mask]),
                words=words(targets[here]),
                right_image_words=words(predicted["right_image"][here]),
                wrong_image_words=words(predicted["wrong_image"][here]),
                no_image_words=words(predicted["no_image"][here]),
            )
        )
    return examples


def _with_gaps(context: Context, ids: torch.Tensor) -> str:
    tokenizer = context.pretrained.tokenizer
    pieces = [
        " ____" if gap else tokenizer.decode(list(run))
        for gap, run in groupby(ids.tolist(), key=lambda token: token == tokenizer.mask)
    ]
    return "".join(pieces).strip()
