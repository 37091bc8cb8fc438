"""Losses of a training step, and the cross-entropy of tokens: masked ones (MLM, IMLM: paper section 3.2), and
next ones (answers, captions)."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfm.data.masking import IGNORED
from xfm.data.schema import MaskedTokens, Tokens
from xfm.models.precision import at_least_float32

B = TypeVar("B")
NoGrad = Callable[..., Any]
"""Calls a function with the model and further arguments, without gradient, as the strategy needs it."""


@dataclass(frozen=True)
class LossDict:
    """Scalars by name: losses with gradient, metrics without."""

    losses: dict[str, Tensor] = field(default_factory=dict)
    metrics: dict[str, Tensor] = field(default_factory=dict)

    def weighed(self, factor: Tensor | float) -> "LossDict":
        """Losses and metrics times a factor."""
        losses = {name: value * factor for name, value in self.losses.items()}
        return LossDict(losses, {name: value * factor for name, value in self.metrics.items()})

    @staticmethod
    def merge(parts: Iterable["LossDict"], prefix: str = "") -> "LossDict":
        """Union of several, with a prefix to the names."""
        merged = LossDict()
        for part in parts:
            merged.losses.update({prefix + name: value for name, value in part.losses.items()})
            merged.metrics.update({prefix + name: value for name, value in part.metrics.items()})
        return merged


@dataclass(frozen=True)
class Losses:
    """Losses of a batch: weighted total to differentiate, unweighted terms and metrics by name."""

    total: Tensor
    terms: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def add(several: Sequence["Losses"]) -> "Losses":
        """Sum of the losses of a batch taken in several parts."""
        if len(several) == 1:
            return several[0]
        named = LossDict.merge(LossDict(one.terms, one.metrics) for one in several)
        return Losses(torch.stack([one.total for one in several]).sum(), named.losses, named.metrics)


class StepLoss(Generic[B]):
    """What a training minimises: by default the mean over the batches of a step of `function`, the losses of
    a batch on the device, given the model and a generator that lies there, too.

    The pre-training step and a task of fine-tuning say more of their batches by the other methods.
    """

    def __init__(self, function: Callable[[Any, Any, torch.Generator], Losses]) -> None:
        self.function = function

    def __call__(self, model: nn.Module, part: Any, generator: torch.Generator) -> Losses:
        """The losses of a part of a step."""
        return self.function(model, part, generator)

    def split(
        self, model: nn.Module, batches: Sequence[B], generator: torch.Generator, no_grad: NoGrad
    ) -> Sequence[Sequence[Any]]:
        """The parts of each batch of a step, whose losses add up; each has a backward pass of its own.
        `batches` are on the device, `generator` is the same in all processes, and `no_grad` is for what is
        computed of all batches before the first part is."""
        return [[batch] for batch in batches]

    def count(self, batch: B) -> float | None:
        """How many rows (tokens, ...) the losses of a batch are means of: the loss of a step is the mean over
        those of all processes and accumulated batches. None where each batch counts the same."""
        return None

    def stage(self, batch: B) -> Hashable:
        """Steps of one stage use the same parameters; None where nobody knows."""
        return None

    def origins(self, batch: B) -> Sequence[object]:
        """Where the samples of a batch came from, one entry a sample, for messages and samples a second."""
        return getattr(batch, "origins", ())


COUNT_STEP = 64
"""The head takes a multiple of this many tokens, so that few shapes occur: kernels are built per shape."""


def masked_token_loss(
    states: Tensor, masked: MaskedTokens, logits: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the masked tokens of states [R, T, D] (0 without any), and the accuracy; only
    masked tokens go through the head `logits`, [N, D] -> [N, V]."""
    places = masked.places
    if places is None:
        places = masked.labels.flatten().ne(IGNORED).nonzero().squeeze(1)
    count = len(places)
    places = F.pad(places, (0, -count % COUNT_STEP))
    labels = masked.labels.flatten()[places]
    labels[count:] = IGNORED
    rows, slots = places // masked.labels.shape[1], masked.positions.flatten()[places]
    predicted = at_least_float32(logits(states[rows, slots]))  # [N, V]
    loss = F.cross_entropy(predicted, labels, reduction="sum", ignore_index=IGNORED) / max(count, 1)
    right = (predicted.detach().argmax(-1) == labels).float().sum() / max(count, 1)
    return loss, right


def sequence_losses(logits: Tensor, tokens: Tokens) -> Tensor:
    """[N] float32 cross-entropy of each sequence's tokens after the first, summed; logits [N, L, V] at l
    predict token l + 1."""
    targets = tokens.ids[:, 1:].masked_fill(~tokens.mask[:, 1:], IGNORED)
    predicted = logits[:, : targets.shape[1]].float().transpose(1, 2)  # [N, V, L - 1]
    return F.cross_entropy(predicted, targets, ignore_index=IGNORED, reduction="none").sum(1)


def smoothed_losses(
    logits: Tensor, tokens: Tokens, smoothing: float, given: int = 0
) -> tuple[Tensor, Tensor]:
    """Mean label-smoothed cross-entropy of the tokens after the first and a prompt of `given` tokens, by
    logits [N, L, V], and the accuracy."""
    targets = tokens.ids[:, 1:].masked_fill(~tokens.mask[:, 1:], IGNORED)  # [N, L - 1]
    targets[:, :given] = IGNORED
    predicted = logits[:, : targets.shape[1]].float()
    loss = F.cross_entropy(
        predicted.transpose(1, 2), targets, ignore_index=IGNORED, label_smoothing=smoothing
    )
    real = targets.ne(IGNORED)
    return loss, predicted.detach().argmax(-1).eq(targets)[real].float().mean()
