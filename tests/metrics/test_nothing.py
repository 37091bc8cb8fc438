"""What has no rows has no score, and of several guesses those count that have one."""

from collections.abc import Callable

import numpy as np
import pytest

from xfm.evaluation.benchmarks.scorers import consistency
from xfm.metrics.calibration import calibration
from xfm.metrics.classification import mean_scores, share
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


def test_the_mean_is_over_the_guesses_that_have_a_metric() -> None:
    scored = [{"accuracy": 0.25, "f1": 0.5}, {"accuracy": 0.75}]
    assert mean_scores(scored) == {"accuracy": 0.5, "f1": 0.5}
    assert mean_scores([]) == {}
