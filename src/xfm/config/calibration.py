"""What makes the matching head's log-odds a probability. Nothing here imports torch."""

import math
from dataclasses import dataclass

MOST = 1e3
"""Of slope and bias: beyond, every probability is 0 or 1."""


@dataclass(frozen=True)
class PresenceFit:
    """Does anything in a gallery fit a text? Judged by the one re-ranked picture that speaks loudest for it.

    Its height is `contrast` * cosine / temperature + `matching` * log-odds of a match. The more pictures
    there are, the higher the best of those that do not fit: so both the probability that something fits,
    which is sigmoid(height + bias + per_log * ln(pictures)), and the height from which a search answers,
    floor + floor_per_log * ln(pictures), know their number.

    Attributes:
        contrast, matching: weights, not negative.
        bias, per_log: of the probability.
        floor, floor_per_log: of the height that `answered` of the searches reach in which something fits.
        answered: that share.
        smallest, largest: galleries that it was fitted on; below the smallest, the smallest counts.
        searches: that it was fitted on; in half of them nothing fits.
        data: where these are from.
    """

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
        for name in ("contrast", "matching", "bias", "per_log", "floor", "floor_per_log"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}, not a number")
        if min(self.contrast, self.matching) < 0:
            raise ValueError(f"the weights are {self.contrast} and {self.matching}, not numbers from 0")
        if not 0 < self.answered < 1:
            raise ValueError(f"answered is {self.answered}, not between 0 and 1")
        if not 1 <= self.smallest <= self.largest:
            raise ValueError(f"the galleries have {self.smallest} to {self.largest} pictures")

    def probability(self, height: float, pictures: int) -> float:
        """That something in a gallery of so many pictures fits, by the height of its best."""
        logit = height + self.bias + self.per_log * self._log(pictures)
        return 1 / (1 + math.exp(-min(max(logit, -500), 500)))

    def least(self, pictures: int) -> float:
        """The probability from which a search in so many pictures answers."""
        return self.probability(self.floor + self.floor_per_log * self._log(pictures), pictures)

    def _log(self, pictures: int) -> float:
        return math.log(max(pictures, self.smallest))


@dataclass(frozen=True)
class MatchCalibration:
    """Platt scaling (Platt, 1999): the probability of a match is sigmoid(slope * log-odds + bias).

    Attributes:
        slope: one over the temperature; 0 where the head knows nothing.
        bias: added to the scaled log-odds.
        pairs: of a picture and a text that it was fitted on.
        data: where these are from.
        presence: says whether anything in a gallery fits; None where nobody fitted it.
    """

    slope: float
    bias: float
    pairs: int
    data: str
    presence: PresenceFit | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.slope <= MOST:
            raise ValueError(f"slope is {self.slope}, not a number from 0 to {MOST:g}")
        if not abs(self.bias) <= MOST:
            raise ValueError(f"bias is {self.bias}, not a number of at most {MOST:g}")
        if self.pairs < 1:
            raise ValueError(f"it was fitted on {self.pairs} pairs")
