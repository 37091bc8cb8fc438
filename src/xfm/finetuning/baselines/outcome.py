"""What a baseline gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def both_notes(*notes: str) -> str:
    """Notes as one; empty ones are left out."""
    return "; ".join(note for note in notes if note)


@dataclass(frozen=True)
class Outcome:
    """Predictions of a baseline.

    Attributes:
        predictions: by test split, of the task's type, one for each row.
        cut: which training rows or features were left out; empty for none.
        how: settings that were chosen.
        shared: seconds of the features that it shares with other baselines.
    """

    predictions: Mapping[str, list[Any]]
    cut: str = ""
    how: str = ""
    shared: float = 0.0

    @property
    def note(self) -> str:
        """Both in words."""
        return both_notes(self.how, self.cut)
