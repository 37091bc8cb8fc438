import math
from collections.abc import Callable
from typing import Any

import pytest

from xfm.config.evaluation import EvaluationConfig, ShortTuning
from xfm.config.finetune import FinetuneConfig
from xfm.config.ranges import LARGEST, MAX_BATCH, check_range


@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, -math.inf, LARGEST + 1, 10**400, 1e300])
def test_what_lies_outside_is_named(value: float) -> None:
    with pytest.raises(ValueError, match=r"^a is .*: choose a number (at least 0|from 0 to 9\.22337e\+18)$"):
        check_range("a", value, 0)


def evaluation_of_questions(**fields: Any) -> EvaluationConfig:
    return EvaluationConfig(vqa=ShortTuning(**fields))


@pytest.mark.parametrize("kind", [evaluation_of_questions, FinetuneConfig])
def test_a_batch_of_absurdly_many_rows_is_refused(kind: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match=rf"batch_size is 1000000000: choose a number .* to {MAX_BATCH}"):
        kind(batch_size=10**9)
    kind(batch_size=MAX_BATCH)


def test_a_seed_that_no_generator_takes_is_named() -> None:
    with pytest.raises(ValueError, match="seed is 18446744073709551616"):
        FinetuneConfig(seed=1 << 64)
