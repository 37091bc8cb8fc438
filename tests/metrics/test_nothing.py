"""What has no rows has no score."""

from collections.abc import Callable

import numpy as np
import pytest

from xfm.metrics.calibration import calibration
from xfm.metrics.classification import share
from xfm.metrics.consistency import consistency
from xfm.metrics.intervals import bootstrap
from xfm.metrics.vqa import answer_accuracy, vqa_score


@pytest.mark.parametrize(
    ("metric", "arguments", "named"),
    [
        (share, ([],), "undefined"),
        (calibration, ([], []), "one at least"),
        (consistency, ([], []), "nothing"),
        (bootstrap, (np.array([]), np.array([], dtype=int)), "at least one row"),
        (vqa_score, ([], [], []), "nothing"),
        (answer_accuracy, ("yes", []), "without any person"),
    ],
)
def test_a_score_of_nothing_is_refused(metric: Callable[..., object], arguments: tuple, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        metric(*arguments)
