"""The choice of a penalty: CLIP's parametric binary search, or a grid."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

COARSE = 2.0
"""Decades between the values of the first round."""
FINEST = 0.125
"""Decades between the values of the last round: eight values a decade."""


@dataclass(frozen=True)
class Trial:
    """A value of C and what it scored on the validation rows."""

    exponent: float
    score: float

    @property
    def value(self) -> float:
        """C itself."""
        return 10.0**self.exponent


def binary_search(score: Callable[[float], float], lowest: float, highest: float) -> list[Trial]:
    """CLIP's search: a grid over the whole range, then the interval around its peak halved again and again.

    Learning Transferable Visual Models From Natural Language Supervision (arXiv 2103.00020), appendix A.3.

    Args:
        score: validation score of an exponent of ten; greater is better.
        lowest, highest: range of the exponents.

    Returns:
        Every value that was tried, in the order of trying.
    """
    trials: dict[float, Trial] = {}

    def attempt(exponent: float) -> None:
        exponent = min(max(exponent, lowest), highest)
        if exponent not in trials:
            trials[exponent] = Trial(exponent, score(exponent))

    rounds = int((highest - lowest) / COARSE)
    for place in range(rounds + 1):
        attempt(lowest + place * COARSE)
    attempt(highest)
    step = COARSE
    while step > FINEST:
        step /= 2
        peak = best(list(trials.values())).exponent
        attempt(peak - step)
        attempt(peak + step)
    return list(trials.values())


def grid_search(score: Callable[[float], float], exponents: Sequence[float]) -> list[Trial]:
    """Every exponent, from the strongest penalty to the weakest."""
    return [Trial(exponent, score(exponent)) for exponent in sorted(set(exponents))]


def best(trials: Sequence[Trial]) -> Trial:
    """The trial of the highest score; of equal ones that of the stronger penalty."""
    return max(trials, key=lambda trial: (trial.score, -trial.exponent))
