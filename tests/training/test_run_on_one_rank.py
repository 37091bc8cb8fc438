"""What processes share: parts, what they count for, and work that is done in turn."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfm.core.errors import UserError
from xfm.training.collectives import balanced, in_order, in_turn, own_part, part


@given(st.integers(0, 200), st.integers(1, 9))
def test_parts_are_all_of_it_and_nearly_equal(count: int, parts: int) -> None:
    found = [range(count)[part(count, place, parts)] for place in range(parts)]
    assert [one for own in found for one in own] == list(range(count))
    assert max(map(len, found)) - min(map(len, found)) <= 1


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 9))
def test_a_mean_of_balanced_means_is_the_mean_over_all(counts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(count, generator=generator, dtype=torch.float64) for count in counts]
    factors = balanced(counts, torch.device("cpu"))
    found = torch.stack([factor * one.mean() for factor, one in zip(factors, parts, strict=True)]).mean()
    torch.testing.assert_close(found, torch.cat(parts).mean())


def test_a_single_process_does_everything() -> None:
    assert range(7)[own_part(7)] == range(7)
    assert in_order([3, 4]) == [3, 4]
    assert balanced([5], torch.device("cpu")) == [1.0]
    done: list[int] = []
    assert in_turn(lambda: done.append(1) or "once") == "once"
    assert done == [1]

    def fail() -> None:
        raise UserError("mend it")

    with pytest.raises(UserError, match="mend it"):
        in_turn(fail)
