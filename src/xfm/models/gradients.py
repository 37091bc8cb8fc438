"""Gradient policy: a table objective x encoder, applied in one place. The fusion losses do not reach the
language encoder; an ablation is another table."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from torch import Tensor

from xfm.config.model import EncoderName, GradientConfig


class Objective(StrEnum):
    """The six pre-training objectives."""

    MLM = "mlm"
    ITC = "itc"
    ITM = "itm"
    IMLM = "imlm"
    MIM = "mim"
    BBP = "bbp"


INPUTS: Mapping[Objective, frozenset[EncoderName]] = MappingProxyType(
    {
        Objective.MLM: frozenset({EncoderName.LANGUAGE}),
        Objective.ITC: frozenset({EncoderName.LANGUAGE, EncoderName.VISION}),
        Objective.ITM: frozenset(EncoderName),
        Objective.IMLM: frozenset(EncoderName),
        Objective.MIM: frozenset({EncoderName.VISION}),
        Objective.BBP: frozenset(EncoderName),
    }
)
"""The encoders whose output each objective uses: only these can be reached at all."""


@dataclass(frozen=True)
class GradientPolicy:
    """The encoders that each objective's gradient `reaches`, a subset of `INPUTS`.

    Language and vision lie behind fusion in ITM, IMLM and BBP: they can be reached there only if fusion is.
    """

    reaches: Mapping[Objective, frozenset[EncoderName]]

    def __post_init__(self) -> None:
        for objective in Objective:
            cells = self.reaches.get(objective)
            if cells is None:
                raise ValueError(f"the gradient policy has no row for {objective}")
            if impossible := cells - INPUTS[objective]:
                raise ValueError(f"{objective} does not use {', '.join(sorted(impossible))}")
            if cells and EncoderName.FUSION in INPUTS[objective] and EncoderName.FUSION not in cells:
                raise ValueError(f"{objective} reaches {', '.join(sorted(cells))} through fusion: add fusion")

    @classmethod
    def of(cls, config: GradientConfig) -> "GradientPolicy":
        """The policy of a recipe; ValueError for an encoder that an objective does not use, or reaches
        only through fusion."""
        return cls({objective: frozenset(getattr(config, objective)) for objective in Objective})

    def allows(self, objective: Objective, encoder: EncoderName) -> bool:
        """Whether the gradient of `objective` reaches `encoder`."""
        return encoder in self.reaches[objective]

    def gate(self, objective: Objective, encoder: EncoderName, output: Tensor) -> Tensor:
        """The encoder's output as the objective may use it: as it is, or without its gradient."""
        return output if self.allows(objective, encoder) else output.detach()


PRETRAINING = GradientPolicy.of(GradientConfig())
"""The published pre-training: text states are detached in ITM, IMLM and BBP (paper section 3.2)."""

FINE_TUNING = GradientPolicy(INPUTS)
"""Fine-tuning: nothing is detached."""
