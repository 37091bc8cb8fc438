"""How a run of the training loop ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xfm.data.schema import TensorFields


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        step: optimiser steps done, skipped ones included.
        skipped: steps skipped since the run or its continuation began, because the loss was NaN or infinite.
        seconds: time since then.
        last: the last logged line (see `RunLog`), empty if nothing was logged.
        changes: what was otherwise, and allowed, when the run was resumed: sentences.
    """

    step: int
    skipped: int
    seconds: float
    last: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[str, ...] = ()


def batch_origins(batch: TensorFields) -> Sequence[object]:
    """Where the samples of a batch came from, one entry a sample; empty where the batch does not know."""
    return getattr(batch, "origins", ())
