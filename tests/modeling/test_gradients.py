"""Every cell of the gradient policy, checked on a real backward pass."""

import itertools

import pytest

from tests.modeling.build import gradients, losses_of, random_batch, tiny_model
from xfm.models.gradients import FINE_TUNING, PRETRAINING, EncoderName, GradientPolicy, Objective

PARTS = {
    Objective.MLM: ["text/mlm"],
    Objective.ITC: ["pair/itc", "region/itc"],
    Objective.ITM: ["pair/itm", "region/itm"],
    Objective.IMLM: ["pair/imlm", "region/imlm"],
    Objective.MIM: ["pair/mim", "image/mim"],
    Objective.BBP: ["region/box_l1", "region/box_giou"],
}
MIXED = GradientPolicy(
    {
        **PRETRAINING.reaches,
        Objective.ITM: frozenset({EncoderName.FUSION}),
        Objective.IMLM: frozenset(EncoderName),
        Objective.ITC: frozenset({EncoderName.LANGUAGE}),
        Objective.BBP: frozenset(),
    }
)


@pytest.mark.parametrize(
    "policy", [PRETRAINING, FINE_TUNING, MIXED], ids=["pretraining", "fine-tuning", "mixed"]
)
def test_every_cell(policy: GradientPolicy) -> None:
    model = tiny_model()
    losses = losses_of(model, random_batch(), policy)
    assert set(itertools.chain(*PARTS.values())) == set(losses.terms)
    for objective, names in PARTS.items():
        for name in names:
            model.zero_grad()
            losses.terms[name].backward(retain_graph=True)
            for encoder in EncoderName:
                if encoder is EncoderName.LANGUAGE and objective is Objective.MLM:
                    continue
                part = getattr(model, encoder)
                # Fusion's words are the tied output matrix of IMLM's head: they learn anyway.
                if encoder is EncoderName.FUSION and objective is Objective.IMLM:
                    part = part.layers
                reached = any(bool(gradient.any()) for gradient in gradients(part).values())
                assert reached == policy.allows(objective, encoder), f"{name} x {encoder}"
