"""Classes by name: what a head's outputs mean."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xfm.errors import UserError
from xfm.metrics.classes import Choice
from xfm.metrics.classification import TOP


@dataclass(frozen=True)
class Labels:
    """The names of the classes in the order of a head's outputs."""

    names: tuple[str, ...]

    def indices(self, labels: Sequence[str]) -> Tensor:
        """[R] int64 places of class names; a name that there is not is class 0 (the rows of a test without
        labels have one, and nothing but predictions is made of them)."""
        places = {name: place for place, name in enumerate(self.names)}
        return torch.tensor([places.get(label, 0) for label in labels])

    def choices(self, logits: Tensor) -> list[Choice]:
        """[R, C] logits -> the likeliest class of each row."""
        probabilities = logits.float().softmax(-1).cpu()
        best = probabilities.topk(min(TOP, len(self.names)), dim=-1).indices.tolist()
        return [
            Choice(self.names[int(np.argmax(row))], tuple(row), tuple(self.names[place] for place in places))
            for row, places in zip(probabilities.tolist(), best, strict=True)
        ]

    def certain(self, label: str) -> Choice:
        """A guess that leaves no doubt."""
        return Choice(label, tuple(float(name == label) for name in self.names), (label,))

    def guess(self, rows: int, rng: np.random.Generator) -> list[Choice]:
        """Classes drawn uniformly; the next ones of the list are second to fifth."""
        count = len(self.names)
        return [
            replace(
                self.certain(self.names[place]),
                best=tuple(self.names[(place + more) % count] for more in range(min(TOP, count))),
            )
            for place in rng.integers(count, size=rows).tolist()
        ]

    def probability(self, choice: Choice, label: str) -> float:
        """The probability that a choice gives to a class, 0 to a class that there is not."""
        return choice.probabilities[self.names.index(label)] if label in self.names else 0.0


def class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """The distinct names in a fixed order: numbers by their value, then the rest by the alphabet."""
    distinct = set(labels)
    return tuple(
        sorted(distinct, key=lambda name: (0, int(name), name) if _is_number(name) else (1, 0, name))
    )


def _is_number(name: str) -> bool:
    return name.removeprefix("-").isascii() and name.removeprefix("-").isdigit() and len(name) < 20


def most_frequent_label(labels: Sequence[str]) -> str:
    """The most frequent label; of equally frequent ones the first by the alphabet."""
    return min(Counter(labels).items(), key=lambda item: (-item[1], item[0]))[0]


def require_classes(names: Sequence[str], where: str = "the training rows") -> None:
    """Refuse to learn to tell one class from none.

    Args:
        names: of the classes.
        where: they stand, for the message.

    Raises:
        UserError: there are fewer than two.
    """
    if len(names) < 2:
        raise UserError(
            f"{where} have {len(names)} class{'' if len(names) == 1 else 'es'}"
            f"{': ' + names[0] if names else ''}; at least two are needed to tell them apart"
        )
