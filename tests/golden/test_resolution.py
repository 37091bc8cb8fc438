"""Recorded relative-position tables at other sizes."""

import pytest
import torch

from tests.golden.recorded import Recorded
from xfm.modeling.resample import progression_ratio, resample_table

KNOWN = {"src_side", "dst_side", "q", "src_coord_max", "dst_coord_max", "clamped"}
OF_THE_RECORDER = "max_abs_diff_vs_not_a_knot_cubic_tensor_spline_with_clamp"


def test_tables(recorded: Recorded) -> None:
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
