"""What a search in a collection can be asked. Nothing here imports torch."""

from dataclasses import dataclass, field

from xfm.config.ranges import Limited, limited

MOST = 1000
"""Pictures that one search gives or re-ranks at most."""
UNFITTED_MIN_SCORE = 0.5
"""Probability of a match from which something is found, where nobody fitted that to the model."""

SURE = 0.9
"""Probability below which an answer says what its model knows."""


@dataclass(frozen=True)
class SearchOptions(Limited):
    """A search in a collection.

    Attributes:
        top_k: most pictures, the best first.
        rerank: nearest pictures, top_k at least, that the fusion encoder matches with the text and orders
            again; 0 keeps the order of the vectors, and answers nothing about whether one fits.
        min_score: probability that something fits from which a search by a text answers; below, nothing is
            found. If not given, the one at which the model answers 95 % of the searches for what is there,
            see `xfm.config.labels.PresenceFit`; of a model for which nobody fitted it, a match of 0.5.
        where: conditions on metadata, all of which hold: kind=dog, kind=dog,cat, price<10.
    """

    top_k: int = limited(10, 1, MOST)
    rerank: int = limited(32, 0, MOST)
    min_score: float | None = limited(None, 0, 1)
    where: list[str] = field(default_factory=list)
