"""Cases that the report shows, right and wrong ones alike. Pictures are paths relative to the world."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from xfm.tasks.rows import Corners

T = TypeVar("T")


@dataclass(frozen=True)
class Candidate:
    """A retrieved picture or caption; `content` is a path or a text."""

    content: str
    right: bool


@dataclass(frozen=True)
class RetrievalExample:
    """A query with its best candidates; `rank` counts from 1."""

    query: str
    candidates: list[Candidate]
    rank: int


@dataclass(frozen=True)
class GroundingExample:
    """A phrase with boxes (left, top, right, bottom) as fractions."""

    image: str
    phrase: str
    true_box: Corners
    predicted_box: Corners
    iou: float


@dataclass(frozen=True)
class QuestionExample:
    """A question with its true and predicted answer."""

    image: str
    question: str
    kind: str
    answer: str
    predicted: str
    right: bool


@dataclass(frozen=True)
class ReasoningExample:
    """A sentence about two pictures."""

    left: str
    right_image: str
    text: str
    label: bool
    predicted: bool


@dataclass(frozen=True)
class TextPairExample:
    """Two texts."""

    text_a: str
    text_b: str
    label: bool
    predicted: bool


@dataclass(frozen=True)
class MaskedExample:
    """A caption with masked words and what was predicted under each condition.

    Attributes:
        image, wrong_image: the right and the wrong picture.
        caption: the caption with each masked run shown as `____`.
        words: the masked pieces in order, then those predicted given the right picture, a wrong one, none.
    """

    image: str
    wrong_image: str
    caption: str
    words: list[str]
    right_image_words: list[str]
    wrong_image_words: list[str]
    no_image_words: list[str]


def pick_examples(right: Sequence[bool], count: int, seed: int) -> list[int]:
    """Places of half right and half wrong cases, drawn by the seed; more of one where the other lacks."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(right)).tolist()
    good = [place for place in order if right[place]]
    bad = [place for place in order if not right[place]]
    half = count // 2
    good_count = min(len(good), max(count - half, count - len(bad)))
    return good[:good_count] + bad[: count - good_count]


def plain_examples(examples: Sequence[Any]) -> list[dict[str, Any]]:
    """Examples as JSON values."""
    return [asdict(example) for example in examples]
