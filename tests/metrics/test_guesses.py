"""Several guesses as one number a metric."""

from xfm.metrics.guesses import mean_scores


def test_the_mean_is_over_the_guesses_that_have_a_metric() -> None:
    scored = [{"accuracy": 0.25, "f1": 0.5}, {"accuracy": 0.75}]
    assert mean_scores(scored) == {"accuracy": 0.5, "f1": 0.5}
    assert mean_scores([]) == {}
