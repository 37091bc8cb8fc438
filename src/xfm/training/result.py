"""How a run of the training loop ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from xfm.config.training import Precision
from xfm.data.schema import TensorFields
from xfm.objectives.losses import Losses
from xfm.training.averaging import AverageBeside


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        step: optimiser steps done, skipped ones included.
        skipped: steps skipped since the run or its continuation began, because the loss was NaN or infinite.
        seconds: time since then.
        precision: arithmetic of the passes, decided.
        last: the last logged line (see `RunLog`), empty if nothing was logged.
        changes: what was otherwise, and allowed, when the run was resumed: sentences.
        average: of the weights, where the configuration keeps one; the model has what was trained last.
    """

    step: int
    skipped: int
    seconds: float
    precision: Precision
    last: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    average: AverageBeside | None = None


def why_skipped(results: Sequence[Losses], norm: Tensor) -> str:
    """What of a step is NaN or infinite, in words.

    Args:
        results: losses of its batches.
        norm: of the gradient.
    """
    values = {name: value.item() for result in results for name, value in result.parts.items()}
    broken = [f"{name} {value}" for name, value in values.items() if value - value != 0]
    return ", ".join(broken) or f"gradient norm {norm.item()}"


def shown_keys(keys: Sequence[str]) -> str:
    """The first of the samples of a batch."""
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def batch_origins(batch: TensorFields) -> Sequence[object]:
    """Where the samples of a batch came from, one entry a sample; empty where the batch does not know."""
    return getattr(batch, "origins", ())
