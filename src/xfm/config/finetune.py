"""Configuration of a fine-tuning on own data. Nothing here imports torch."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from xfm.config.artifacts import MOST_RANK
from xfm.config.image import Colours, Framing, ImageTrainingConfig
from xfm.config.labels import ClassWeights, LabelKind, class_weights_of
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.config.task import ImageHead
from xfm.config.training import MAX_MINUTES, LearningRates, Precision, ReportTo
from xfm.config.typed import MAX_BATCH, MAX_SEED, Limited, check_range, limited, refuse, settle_members

LONGEST_PROMPT = 200
_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|minutes?|h|hours?|)\s*")


class TuningMode(StrEnum):
    """How an encoder is tuned: all of its weights, none of them, or low-rank additions to its matrices."""

    FULL = "full"
    FREEZE = "freeze"
    LORA = "lora"


class Preset(StrEnum):
    """What decides the settings that nobody gave.

    fast: frozen encoders and a probe, fitted at once; of tasks without classes or values frozen encoders, and
        a third of the steps.
    good: every encoder learns.
    best: twice the steps, and their weights averaged.
    """

    FAST = "fast"
    GOOD = "good"
    BEST = "best"


@dataclass(frozen=True)
class TuningConfig(Limited, place="tune."):
    """What of the model learns; heads and decoders always do.

    Attributes:
        language, vision, fusion: how the encoder is tuned: full, freeze or lora; else the preset decides.
        rank: rank of LoRA's additions.
        alpha: LoRA's scale; its additions are multiplied by alpha / rank.
        dropout: of LoRA's inputs.
        save_adapter_only: save what was learned alone (additions and head), to be read over the first model.
    """

    language: TuningMode | None = None
    vision: TuningMode | None = None
    fusion: TuningMode | None = None
    rank: int = limited(8, 1, MOST_RANK)
    alpha: int = limited(16, 0)
    dropout: float = limited(0.0, 0, 1)
    save_adapter_only: bool = False


@dataclass(frozen=True)
class FinetuneConfig(LearningRates):
    """A fine-tuning; what is 0 is fitted to the number of rows and the size of the model.

    Attributes:
        preset: decides what is not given: fast (frozen encoders and a probe), good, best (longer, averaged).
        time_limit: minutes for everything, such as 10, 10m or 2h; 0 sets none.
        steps: optimiser steps at most; 0 fits.
        batch_size: rows a step, over all processes; 0 fits.
        gradient_accumulation_steps: parts of the batch, taken one after the other to need less memory.
        workers: processes beside each that trains, which read rows ahead of it; 0 reads in its own.
        rows_per_picture: most rows of a picture that follow each other, for which it is encoded once.
        lr: peak learning rate of the pre-trained parts; 0 fits.
        average: decay of an average of the weights that takes their place, such as 0.999; 0: none.
        evaluate_every: steps between looks at the validation rows; 0 looks twenty times.
        choose_by: metric of the validation rows that chooses the model, such as mcc; without, the task's.
        interpolate: forget less: shares of the way from the weights before to those after (WiSE-FT), such as
            0.25,0.5,0.75, of which the validation rows choose; 0 and 1 are tried, too.
        patience: looks without a better model after which the training stops; 0 never stops.
        max_tokens: longest text in tokens; 0 fits the training rows.
        max_words: longest question or sentence about pictures in words, cut there; 0: as captions are read.
        image_size: side of the pictures in pixels; 0 is the model's.
        max_answers: longest list of answers that questions are ranked over.
        label_smoothing: of captions.
        valid_share: share of the training rows that becomes the validation split where none is given.
        test_share: likewise for the test split.
        max_bad: rows with an unreadable picture to leave out at most; else 100 and half of a split.
        baseline: compare with simple baselines, and fine-tune again without one of two modalities.
        baseline_steps: steps of that; 0 takes as many as the task itself.
        regression: the labels of text-classification are values.
        multi_label: rows have any number of labels, or none: cells hold a list, or names with a separator.
        label_separator: what stands between the labels of a cell.
        threshold: probability from which one of several labels is given; 0 chooses it on the validation rows.
        class_weights: what classes weigh in the loss: balanced, or weights by label such as spam=5,ham=1.
        box_format: what the four numbers of a box are.
        box_unit: the unit of boxes.
        image_head: the head of image-classification: one linear layer, or the published five.
        framing: how pictures of image-classification become the model's shape; without, as the model has it.
        colours: mean and deviation by which their pixels are normalised.
        grey: show their brightness alone.
        prompt: words that every caption begins with; they are given, not learned, and no part of an answer.
        hard_negatives: captions near one another for the starting model, so many in a row; 0: rows at random.
        dimensions: sizes such as 128,64 to which vectors of texts may be cut afterwards (Matryoshka).
        image: how training pictures are varied; those of image-classification are mixed, too.
        tune: which encoders learn, and how.
        report_to: experiment trackers: tensorboard, wandb, mlflow, trackio; each is an extra of the package.
        seed: seed of splits, heads, order and dropout.
        precision: arithmetic of the forward pass.
        device: auto, cpu, cuda, cuda:1, ...
    """

    preset: Preset = Preset.GOOD
    time_limit: float | str = 0.0
    lr: float = limited(0.0, 0)
    steps: int = limited(0, 0)
    batch_size: int = limited(0, 0, MAX_BATCH)
    gradient_accumulation_steps: int = limited(1, 1, MAX_BATCH)
    workers: int = limited(0, 0, 1024)
    rows_per_picture: int = limited(4, 1)
    average: float | None = limited(None, 0, 0.999999)
    evaluate_every: int = limited(0, 0)
    choose_by: str = ""
    interpolate: list[float] = field(default_factory=list[float])
    patience: int = limited(6, 0)
    max_tokens: int = limited(0, 0)
    max_words: int = limited(0, 0)
    image_size: int = limited(0, 0)
    max_answers: int = limited(3000, 1)
    label_smoothing: float = limited(0.1, 0, 0.99)
    valid_share: float = limited(0.15, 0.01, 0.4)
    test_share: float = limited(0.15, 0.01, 0.4)
    max_bad: int | None = limited(None, 0)
    baseline: bool = True
    baseline_steps: int = limited(0, 0)
    regression: bool = False
    multi_label: bool = False
    label_separator: str = "|"
    threshold: float = limited(0.0, 0, 1)
    class_weights: ClassWeights = ""
    box_format: BoxFormat = BoxFormat.XYWH
    box_unit: BoxUnit = BoxUnit.PIXEL
    image_head: ImageHead = ImageHead.LINEAR
    framing: Framing | None = None
    colours: Colours = Colours.MODEL
    grey: bool = False
    prompt: str = ""
    hard_negatives: int = limited(0, 0, MAX_BATCH)
    dimensions: list[int] = field(default_factory=list[int])
    image: ImageTrainingConfig = field(default_factory=ImageTrainingConfig)
    tune: TuningConfig = field(default_factory=TuningConfig)
    report_to: list[ReportTo] = field(default_factory=list)
    seed: int = limited(0, 0, MAX_SEED)
    precision: Precision = Precision.AUTO
    device: str = "auto"

    def __post_init__(self) -> None:
        settle_members(self)
        object.__setattr__(self, "time_limit", minutes_of(self.time_limit))
        self.check_rates()
        for share in self.interpolate:
            check_range("interpolate", share, 0, 1)
        object.__setattr__(self, "class_weights", class_weights_of(self.class_weights))
        several, few, size = self.multi_label, self.max_tokens, len(self.prompt)
        of_classes = "multi_label" if several else "class_weights"
        mixing = [name for name in ("mixup", "cutmix", "label_smoothing") if getattr(self.image, name)]
        refuse(
            {
                f"max_tokens is {few}: choose 0, or 3 at least: begin and end are two": 0 < few < 3,
                "dimensions are sizes from 1 on, each given once": (
                    min(self.dimensions, default=1) < 1 or len({*self.dimensions}) < len(self.dimensions)
                ),
                f"prompt has {size} characters: {LONGEST_PROMPT} are enough": size > LONGEST_PROMPT,
                "label_separator is empty: give what stands between the labels of a cell, such as |": (
                    not self.label_separator.strip()
                ),
                f"regression learns a value a row, {of_classes} is about classes: leave one of the two out": (
                    self.regression and (several or self.class_weights)
                ),
                "threshold is of use with multi_label alone: of one class the likeliest is given": (
                    self.threshold and not several
                ),
                f"image.{''.join(mixing[:1])} shares out the one class of a picture: leave it out with "
                "multi_label": several and mixing,
            }
        )

    @property
    def label_kind(self) -> LabelKind:
        """How many labels a row has."""
        return LabelKind.SEVERAL if self.multi_label else LabelKind.ONE

    @property
    def minutes(self) -> float:
        """The time limit in minutes; 0 for none."""
        return float(self.time_limit)


def minutes_of(limit: float | str) -> float:
    """A duration in minutes, from a number of them or a text such as 90s, 10m, 1.5h; else a ValueError."""
    found = _DURATION.fullmatch(str(limit).lower())
    if found is None:
        raise ValueError(f"time_limit is {limit}: give minutes, such as 10, 10m or 2h")
    minutes = float(found[1]) * {"s": 1 / 60, "h": 60.0}.get(found[2][:1], 1.0)
    check_range("time_limit", minutes, 0, MAX_MINUTES)
    return minutes
