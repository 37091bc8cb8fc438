"""Recorded relative-position tables at other sizes, and the recorded model on larger pictures."""

import pytest
import torch

from tests.golden.recorded import Recorded
from xfm.modeling.resample import progression_ratio, resample_table


def test_tables(recorded: Recorded) -> None:
    arrays, cases = recorded.arrays("interp.safetensors"), recorded.json("interp.json")
    assert cases
    for name, case in cases.items():
        old, new = ((case[side] + 1) // 2 for side in ("src_side", "dst_side"))
        ratio = progression_ratio(case["src_side"] // 2, case["dst_side"] // 2)
        assert ratio == pytest.approx(case["q"], abs=1e-7)
        found = resample_table(arrays[f"interp_{name}_in"], (old, old), (new, new))
        torch.testing.assert_close(found, arrays[f"interp_{name}_out"], rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_model_on_larger_pictures(recorded: Recorded) -> None:
    outputs = recorded.arrays("downstream_outputs.safetensors")
    size, model = recorded.json("config.json")["upres_image_res"], recorded.model()
    model.resize(size)
    assert model.config.vision.image_size == size
    state = model.vision.state_dict()
    for block in range(model.config.vision.depth):  # type: ignore[union-attr]
        table = state[f"blocks.{block}.attention.relative_position_table"]
        torch.testing.assert_close(table, outputs[f"upres/rel_pos_table_block{block}"], rtol=0, atol=1e-6)
    found = model.encode_image(recorded.inputs["upres_image"])
    torch.testing.assert_close(found, outputs["upres/vision_out"], rtol=0, atol=2e-5)
