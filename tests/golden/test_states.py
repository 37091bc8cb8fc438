"""Every recorded array: hidden states, features, logits, boxes, rankings, resampled tables."""

import re

import pytest
from torch import Tensor

from tests.golden.compare import check
from tests.golden.recorded import Recorded
from tests.golden.states import compute


@pytest.fixture(scope="module")
def ours(recorded: Recorded) -> dict[str, Tensor]:
    return compute(recorded)


def test_array(recorded: Recorded, ours: dict[str, Tensor], array: str) -> None:
    assert array in ours, f"nothing here computes {array}"
    check(recorded, array, ours[array])


def test_how_clear_the_shortlist_of_answers_is(recorded: Recorded, ours: dict[str, Tensor]) -> None:
    """The record says how far the last candidate that is kept stands above the next one, at least."""
    stored = recorded.json("downstream_scalars.json")
    assert stored.keys() <= {"losses", "meta"}
    for name, gap in stored.get("meta", {}).items():
        if name == "attempts":  # of the recorder, to find weights with a clear shortlist
            continue
        assert re.fullmatch(r"vqa_min_rel_gap_\w+", name), f"nothing here computes {name}"
        size = recorded.outputs["vqa/rank_pre_topk_ids"].shape[1]
        ranked = ours["vqa/rank_first_token_prob"].sort(1, descending=True).values
        found = (1 - ranked[:, size] / ranked[:, size - 1]).min().item()
        assert found == pytest.approx(gap, abs=1e-4)
