"""Labels of a task, and the calibration of their probabilities. Nothing here imports torch."""

import contextlib
import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from xfm.config.typed import LARGEST, check_range
from xfm.core.errors import UserError, excerpt, suggest

BALANCED, MOST_WEIGHT = "balanced", 1_000_000
ClassWeights = str | dict[str, float]
"""No weights (empty), `balanced`, or weights by label; 1 for labels that are not named."""
HALF = 0.5
"""The probability from which a label is given, where no rows have chosen another."""


class LabelKind(StrEnum):
    """How many labels a row has: what head, loss, predictions and metrics of a classification follow from.

    one: it is of one class.
    several: any number of labels, or none.
    """

    ONE = "one"
    SEVERAL = "several"


def class_weights_of(given: str | Mapping[Any, float]) -> ClassWeights:
    """Class weights from a mapping or a text: `balanced`, `spam=5,ham=1`; else a ValueError."""
    if given in ("", BALANCED):
        return str(given)
    found: dict[str, float] = {}
    for label, said in _pairs(given):
        weight = math.nan
        if isinstance(said, int | float | str) and not isinstance(said, bool):
            with contextlib.suppress(ValueError, OverflowError):
                weight = float(said)
        if not 0 < weight <= MOST_WEIGHT:
            # What is no number may be a list of lists that YAML made of a few letters: nobody can write it.
            shown = "no number" if math.isnan(weight) else f"{weight:g}"
            raise ValueError(
                f"class_weights: the weight of {excerpt(label_name(label))} is {shown}; give a number above "
                f"0, {MOST_WEIGHT:,} at most"
            )
        found[label_name(label)] = weight
    if not found:
        raise ValueError("class_weights names no label; give balanced, or weights such as spam=5,ham=1")
    return found


def _pairs(given: str | Mapping[Any, float]) -> list[tuple[object, object]]:
    if isinstance(given, Mapping):
        return [*given.items()]
    parts = (one.rpartition("=") for one in given.split(","))
    pairs = [(label.strip(), weight) for label, _, weight in parts]
    if not all(label for label, _ in pairs):
        raise ValueError(
            f"class_weights is {excerpt(given)!r}: give {BALANCED}, or weights by label such as spam=5,ham=1"
        )
    if len({label for label, _ in pairs}) < len(pairs):
        raise ValueError(f"class_weights is {excerpt(given)!r}, which names a label twice")
    return [*pairs]


def label_name(label: object) -> str:
    """A label by name, as tables have it: true and false, of rows and of YAML, have these names. Letters with
    marks are one character each where there is one (NFC): names that look alike are one."""
    return str(label).lower() if isinstance(label, bool) else unicodedata.normalize("NFC", str(label))


def require_labels(weights: ClassWeights, names: Iterable[str]) -> None:
    """Refuse weights of labels that do not exist."""
    known = [*names]
    for label in weights if isinstance(weights, dict) else ():
        if label not in known:
            shown = ", ".join(excerpt(name) for name in known[:20]) + (", ..." if len(known) > 20 else "")
            raise UserError(
                f"class_weights: the training rows have no label {excerpt(label)!r}; "
                f"{suggest(label, known, f'they have {shown}')}"
            )


MOST = 1e3
"""Of slope and bias: beyond, every probability is 0 or 1."""


@dataclass(frozen=True)
class PresenceFit:
    """Does anything in a gallery fit a text? Judged by the one re-ranked picture that speaks loudest for it.
    Its height is `contrast` * cosine / temperature + `matching` * log-odds of a match. The more pictures
    there are, the higher the best of those that do not fit: so both the probability that something fits,
    which is sigmoid(height + bias + per_log * ln(pictures)), and the height from which a search answers,
    floor + floor_per_log * ln(pictures), know their number. The share `answered` of the searches in which
    something fits reaches that; it was fitted on so many `searches` of galleries of `smallest` (which smaller
    ones count as) to `largest` pictures, in half of which nothing fits."""

    contrast: float
    matching: float
    bias: float
    per_log: float
    floor: float
    floor_per_log: float
    answered: float
    smallest: int
    largest: int
    searches: int
    data: str

    def __post_init__(self) -> None:
        for name in ("contrast", "matching"):
            check_range(name, getattr(self, name), 0)
        for name in ("bias", "per_log", "floor", "floor_per_log"):
            check_range(name, getattr(self, name), -LARGEST)
        check_range("answered", self.answered, 1e-9, 1 - 1e-9)
        check_range("smallest", self.smallest, 1, self.largest)

    def probability(self, height: float, pictures: int) -> float:
        """That something in a gallery of so many pictures fits, by the height of its best."""
        logit = height + self.bias + self.per_log * math.log(max(pictures, self.smallest))
        return 1 / (1 + math.exp(-min(max(logit, -500), 500)))

    def threshold(self, pictures: int) -> float:
        """The probability from which a search in so many pictures answers."""
        height = self.floor + self.floor_per_log * math.log(max(pictures, self.smallest))
        return self.probability(height, pictures)


@dataclass(frozen=True)
class MatchCalibration:
    """Platt scaling (Platt, 1999): the probability of a match is sigmoid(slope * log-odds + bias), with slope
    0 where the head knows nothing. It was fitted on `pairs` of a picture and a text from `data`; `presence`
    says whether anything in a gallery fits, None where nobody fitted it."""

    slope: float
    bias: float
    pairs: int
    data: str
    presence: PresenceFit | None = None

    def __post_init__(self) -> None:
        check_range("slope", self.slope, 0, MOST)
        check_range("bias", self.bias, -MOST, MOST)
        check_range("pairs", self.pairs, 1)
