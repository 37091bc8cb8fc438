"""What makes the matching head's log-odds a probability. Nothing here imports torch."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class MatchCalibration:
    """Platt scaling (Platt, 1999): the probability of a match is sigmoid(slope * log-odds + bias).

    Attributes:
        slope: one over the temperature; 0 where the head knows nothing.
        bias: added to the scaled log-odds.
        pairs: of a picture and a text that it was fitted on.
        data: where these are from.
    """

    slope: float
    bias: float
    pairs: int
    data: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and self.slope >= 0):
            raise ValueError(f"slope is {self.slope}, not a number from 0")
        if not math.isfinite(self.bias):
            raise ValueError(f"bias is {self.bias}, not a number")
        if self.pairs < 1:
            raise ValueError(f"it was fitted on {self.pairs} pairs")
