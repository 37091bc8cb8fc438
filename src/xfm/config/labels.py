"""How many labels a row has, and what each of them weighs. Nothing here imports torch."""

import contextlib
import math
import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from xfm.config.plain import yaml_value
from xfm.core.errors import UserError, excerpt, suggest

BALANCED, MOST = "balanced", 1_000_000
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
    """What was given for class weights, checked: none, `balanced`, or weights by label.

    Args:
        given: a mapping, or a text: `balanced`, `spam=5,ham=1`, or a mapping as YAML has it.

    Raises:
        ValueError: it is none of these, or a weight is no positive number.
    """
    if given in ("", BALANCED):
        return str(given)
    found = {label_name(label): _weight(weight, label) for label, weight in _pairs(given)}
    if not found:
        raise ValueError("class_weights names no label; give balanced, or weights such as spam=5,ham=1")
    return found


def _pairs(given: str | Mapping[Any, float]) -> list[tuple[object, object]]:
    if isinstance(given, Mapping):
        return [*given.items()]
    content: object = None
    if given.lstrip().startswith("{"):
        try:
            content = yaml_value(given)
        except ValueError:
            content = None
        if isinstance(content, Mapping):
            return [*content.items()]
    pairs = [
        (label.strip(), weight) for label, _, weight in (one.rpartition("=") for one in given.split(","))
    ]
    if not all(label for label, _ in pairs):
        raise ValueError(
            f"class_weights is {excerpt(given)!r}: give {BALANCED}, or weights by label such as spam=5,ham=1"
        )
    if len({label for label, _ in pairs}) < len(pairs):
        raise ValueError(f"class_weights is {excerpt(given)!r}, which names a label twice")
    return [*pairs]


def label_name(label: object) -> str:
    """A label by name, as tables have it: true and false, of rows and of YAML, have these names.

    Letters with marks are one character each where there is one (NFC): names that look alike are one.
    """
    return str(label).lower() if isinstance(label, bool) else unicodedata.normalize("NFC", str(label))


def _weight(given: object, label: object) -> float:
    weight = math.nan
    if isinstance(given, int | float | str) and not isinstance(given, bool):
        with contextlib.suppress(ValueError, OverflowError):
            weight = float(given)
    if not 0 < weight <= MOST:
        # What is no number may be a list of lists that YAML made of a few letters, and nobody can write it.
        said = "no number" if math.isnan(weight) else f"{weight:g}"
        raise ValueError(
            f"class_weights: the weight of {excerpt(label_name(label))} is {said}; give a number above 0, "
            f"{MOST:,} at most"
        )
    return weight


def require_labels(weights: ClassWeights, names: Iterable[str]) -> None:
    """Refuse weights of labels that there are not.

    Raises:
        UserError: names the label, and those that there are.
    """
    known = [*names]
    for label in weights if isinstance(weights, dict) else ():
        if label not in known:
            shown = ", ".join(excerpt(name) for name in known[:20]) + (", ..." if len(known) > 20 else "")
            raise UserError(
                f"class_weights: the training rows have no label {excerpt(label)!r}; "
                f"{suggest(label, known, f'they have {shown}')}"
            )
