"""Labels by name: what the outputs of a head mean where a row has any number of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.labels import HALF, LabelKind
from xfm.metrics.calibration import tempered
from xfm.metrics.classification import Array, with_unknown
from xfm.metrics.labels import (
    Flags,
    LabelSet,
    best_threshold,
    exact_matches,
    label_flags,
    label_metrics,
    precision_recall_f1_of_labels,
)
from xfm.objectives.losses import Losses
from xfm.tasks.labelling import (
    Floats,
    Labelling,
    LabelTable,
    Truth,
    Verdict,
    label_losses,
    most_frequent_label,
)


@dataclass(frozen=True)
class SeveralLabels(Labelling[LabelSet]):
    """Any number of labels a row: those of at least the probability `least`, which validation rows choose by
    micro-F1 where `fits`."""

    kind: ClassVar[LabelKind] = LabelKind.SEVERAL
    primary: ClassVar[str] = "f1_micro"
    least: float = HALF
    fits: bool = True

    @property
    def threshold(self) -> float:
        """The probability from which a label is given."""
        return self.least

    @property
    def settles(self) -> bool:
        """The threshold, unless it was given."""
        return self.fits

    def targets(self, truths: Sequence[Truth]) -> Tensor:
        """[R, C] float32, 1 for the labels that a row has; a label that there is not is none."""
        return torch.from_numpy(label_flags(truths, self.names)).float()

    def losses(
        self, logits: Tensor, targets: Tensor, weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Losses:
        """Binary cross-entropy of each label."""
        return label_losses(logits, targets, weight)

    def weighed(self, targets: Tensor, weight: Tensor) -> float:
        """The rows: torch divides by their number, whatever labels weigh."""
        return len(targets)

    def balance(self, count: int, rows: int) -> float:
        """The rows without a label by those that have it, so that both weigh the same in all."""
        return (rows - count) / count if count < rows else 1.0

    def said(self, probabilities: Array) -> list[LabelSet]:
        names = np.array(self.names, dtype=object)
        given = np.asarray(probabilities) >= self.least
        return [
            LabelSet(tuple(names[own]), tuple(row))
            for own, row in zip(given, probabilities.tolist(), strict=True)
        ]

    def anew(self, said: Sequence[LabelSet]) -> Any:
        """With this threshold."""
        return self.said(np.array([one.probabilities for one in said])) if said else []

    def certain(self, truth: Truth) -> LabelSet:
        """A guess that leaves no doubt."""
        own = [name for name in self.names if name in truth]
        return LabelSet(tuple(own), tuple(float(name in own) for name in self.names))

    def guess(self, rows: int, rng: np.random.Generator) -> list[LabelSet]:
        return replace(self, least=HALF).said(rng.random((rows, len(self.names))))

    def usual(self, truths: Sequence[Truth]) -> dict[str, LabelSet]:
        """The most frequent set, and as many of the most frequent labels as have the best micro-F1."""
        flags = label_flags(truths, self.names)
        order = np.argsort(-flags.sum(axis=0), kind="stable")
        right = flags.sum(axis=0)[order].cumsum()
        f1 = 2 * right / (len(flags) * np.arange(1, len(order) + 1) + flags.sum())
        best = tuple(self.names[place] for place in order[: int(np.argmax(f1)) + 1])
        return {
            "most frequent set of labels": self.certain(most_frequent_label(truths)),
            "the most frequent labels": self.certain(best),
        }

    def settled(self, truths: Sequence[Truth], said: Sequence[LabelSet]) -> Self:
        """With the threshold of the best micro-F1 on these rows, unless it was given."""
        if not (self.fits and said):
            return self
        scores = np.array([one.probabilities for one in said])
        return replace(self, least=best_threshold(scores, label_flags(truths, self.names), HALF))

    def cooled(self, temperature: float) -> Self:
        """With the threshold that gives the same labels, unless it was given."""
        if not self.fits:
            return self
        return replace(self, least=float(tempered(np.array([[self.least]]), temperature, several=True)[0, 0]))

    def metrics(self, truths: Sequence[Truth], said: Sequence[LabelSet]) -> dict[str, float]:
        truth, given, scores, _ = self._arrays(truths, said)
        return label_metrics(truth, given, scores)

    def row_scores(self, truths: Sequence[Truth], said: Sequence[LabelSet]) -> dict[str, Floats]:
        truth, given, _, _ = self._arrays(truths, said)
        return {"exact_match": exact_matches(truth, given)}

    def known_chance(self) -> dict[str, float]:
        return {"exact_match": 0.5 ** len(self.names)}

    def likelihood(self, truths: Sequence[Truth], said: Sequence[LabelSet]) -> float:
        """Of every label of every row."""
        truth, _, scores, _ = self._arrays(truths, said)
        return float(np.log(np.maximum(np.where(truth, scores, 1 - scores), 1e-12)).mean())

    def sure_and_right(
        self, truths: Sequence[Truth], said: Sequence[LabelSet]
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """[R * C] the probability of the likelier of there and not there, and whether that is right."""
        there = np.array([one.probabilities for one in said]).ravel()
        return np.maximum(there, 1 - there), (there >= HALF) == self.flags(truths).ravel()

    def verdict(self, truth: Truth, said: LabelSet) -> Verdict:
        """Right where all labels are; the worse, the farther the probabilities are from them."""
        own = self.certain(truth).probabilities
        far = sum(abs(one - other) for one, other in zip(own, said.probabilities, strict=True))
        far += sum(name not in self.names for name in truth)
        right = {*truth} == {*said.labels}
        return Verdict(_words(truth), _words(said.labels), right, far)

    def table(self, truths: Sequence[Truth], said: Sequence[LabelSet]) -> LabelTable:
        """Each label by itself."""
        truth, given, _, names = self._arrays(truths, said)
        return LabelTable(names, truth.sum(axis=0), precision_recall_f1_of_labels(truth, given))

    def _arrays(
        self, truths: Sequence[Truth], said: Sequence[LabelSet]
    ) -> tuple[Flags, Flags, Floats, tuple[str, ...]]:
        names = with_unknown(self.names, [name for own in truths for name in own])
        scores = np.zeros((len(said), len(names)))
        scores[:, : len(self.names)] = [one.probabilities for one in said]
        return (
            label_flags(truths, names),
            label_flags([one.labels for one in said], names),
            scores,
            names,
        )


def _words(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "no label"
