"""Several guesses as one number a metric."""

from xfm.metrics.guesses import best_scores, mean_scores


def test_the_mean_is_chance_and_the_best_a_baseline() -> None:
    scored = [{"accuracy": 0.25, "f1": 0.5}, {"accuracy": 0.75, "f1": 0.0}]
    assert mean_scores(scored) == {"accuracy": 0.5, "f1": 0.25}
    assert best_scores(scored) == {"accuracy": 0.75, "f1": 0.5}
    assert mean_scores([]) == best_scores([]) == {}
