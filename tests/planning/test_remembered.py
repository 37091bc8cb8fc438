"""What `xfm plan` counts for remembered pairs, beside the memory that holds them."""

import pytest
import torch

from tests.training.ranks import OnePhase, global_batch
from tests.training.support import called, model_with_dropout
from xfm.config.model import MimTarget
from xfm.config.training import LossConfig, NegativesConfig, Precision, TrainingConfig
from xfm.models.gradients import PRETRAINING
from xfm.training.planning.sizes import CaptionedSizes, StepSizes, TextSizes
from xfm.training.planning.step import StepModel
from xfm.training.pretraining_step import PretrainingStep

WEIGHTS, NEGATIVES = LossConfig(), NegativesConfig(queue_size=12)


def test_remembered_pairs_take_what_is_planned() -> None:
    model = model_with_dropout().eval()
    data: object = OnePhase(WEIGHTS, NEGATIVES)
    step = PretrainingStep([PRETRAINING], MimTarget.STATES, data)  # pyright: ignore[reportArgumentType]
    batch = global_batch(0)
    ((part,),) = step.split(model, [batch], torch.Generator(), called(model))
    step(model, part, torch.Generator())
    assert batch.pair is not None
    held = sum(tensor.nbytes for tensor in step.state_dict().values())
    rows, length = batch.pair.tokens.ids.shape
    sizes = StepSizes(captioned={"pair": CaptionedSizes(rows, TextSizes(rows, length, 1), rows)})
    training = TrainingConfig(precision=Precision.FP32)
    planned = StepModel(model.config, training, WEIGHTS, NEGATIVES, training.gradients, fused=False)
    assert planned.cost(sizes).remembered == pytest.approx(held, abs=8)  # where the next one goes
    without = StepModel(model.config, training, WEIGHTS, NegativesConfig(), training.gradients)
    assert without.cost(sizes).remembered == 0
