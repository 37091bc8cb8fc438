"""Steps of absurdly many rows are refused before anything is loaded."""

from collections.abc import Callable

import pytest

from xfm.config.evaluation import ShortTuning
from xfm.config.finetune import FinetuneConfig
from xfm.config.ranges import MAX_BATCH


@pytest.mark.parametrize("kind", [ShortTuning, FinetuneConfig])
def test_a_slip_of_the_hand_is_refused(kind: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match=rf"batch_size is 1000000000: choose a number .* to {MAX_BATCH}"):
        kind(batch_size=10**9)
    kind(batch_size=MAX_BATCH)
