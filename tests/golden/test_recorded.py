"""Every recorded array, loss and gradient: hidden states, logits, boxes, rankings, resampled tables."""

import re

import pytest
import torch
from torch import Tensor

from tests.golden.compare import check, check_gradients, check_loss, gradients
from tests.golden.losses import compute as compute_loss
from tests.golden.losses import negatives_of
from tests.golden.recorded import Recorded
from tests.golden.states import compute
from xfm.models.vision import progression_ratio, resample_table
from xfm.objectives import retrieval, vision_text

KNOWN = {"src_side", "dst_side", "q", "src_coord_max", "dst_coord_max", "clamped"}
OF_THE_RECORDER = "max_abs_diff_vs_not_a_knot_cubic_tensor_spline_with_clamp"


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


def test_loss_and_gradients(recorded: Recorded, loss_case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded as zero is not computed here."""
    # The recorded random draw takes the place of ours.
    negatives = negatives_of(recorded, loss_case)
    for module in (retrieval, vision_text):
        monkeypatch.setattr(module, "draw_negatives", lambda *_: negatives)
    found = compute_loss(recorded, loss_case)
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


def test_tables_at_other_sizes(recorded: Recorded) -> None:
    arrays, cases = recorded.arrays("interp.safetensors"), recorded.json("interp.json")
    assert arrays.keys() == {f"interp_{name}_{end}" for name in cases for end in ("in", "out")}
    assert cases
    for name, case in cases.items():
        assert case.keys() <= KNOWN | {OF_THE_RECORDER}
        old, new = ((case[side] + 1) // 2 for side in ("src_side", "dst_side"))
        found = resample_table(arrays[f"interp_{name}_in"], (old, old), (new, new))
        torch.testing.assert_close(found, arrays[f"interp_{name}_out"], rtol=1e-6, atol=1e-6)
        if old == new:  # nothing is done
            continue
        halves = case["src_side"] // 2, case["dst_side"] // 2
        ratio = progression_ratio(*halves)
        assert ratio == pytest.approx(case["q"], abs=1e-7)
        reach = sum(ratio**power for power in range(halves[0]))
        assert reach == pytest.approx(case["src_coord_max"], rel=1e-6)
        assert halves[1] == case["dst_coord_max"]
        assert (halves[1] > reach) == case["clamped"]
