"""Every recorded loss and its gradients, in pre-training and in the tasks."""

import pytest

from tests.golden.compare import check_gradients, check_loss, gradients
from tests.golden.losses import compute, negatives_of
from tests.golden.recorded import Recorded
from xfm.objectives import itc_itm, vision_text


def test_loss_and_gradients(recorded: Recorded, loss_case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded as zero is not computed here."""
    # The recorded random draw takes the place of ours.
    negatives = negatives_of(recorded, loss_case)
    for module in (itc_itm, vision_text):
        monkeypatch.setattr(module, "draw_negatives", lambda *_: negatives)
    found = compute(recorded, loss_case)
    if found.loss is None:
        assert recorded.scalars[loss_case] == 0
        assert not recorded.gradients["grads"].get(loss_case), loss_case
        return
    if loss_case in recorded.scalars:
        check_loss(recorded, loss_case, found.loss)
    if loss_case in recorded.gradients["grads"]:
        found.loss.backward()
        check_gradients(recorded, loss_case, gradients(found.module, recorded.config))


def test_every_gradient_is_that_of_a_loss(recorded: Recorded) -> None:
    assert recorded.gradients["grads"].keys() | recorded.gradients["none"].keys() <= recorded.scalars.keys()
