"""Box formats and units against torchvision."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_convert

from xfm.data.boxes import Boxes, BoxFormat, BoxUnit

corners = st.lists(st.tuples(*[st.floats(0, 1000)] * 4), max_size=5)


@given(corners, st.sampled_from(BoxFormat), st.sampled_from(BoxFormat))
def test_formats_equal_torchvision(rows, first, second):
    xyxy = torch.tensor([[a, b, a + c, b + d] for a, b, c, d in rows], dtype=torch.float64).reshape(-1, 4)
    boxes = Boxes(xyxy, BoxFormat.XYXY, BoxUnit.PIXEL).to_format(first)
    assert len(boxes) == len(rows)
    converted = boxes.to_format(second)
    assert converted.format is second
    expected = box_convert(boxes.data, first, second)
    torch.testing.assert_close(converted.data, expected)


@pytest.mark.parametrize("format", list(BoxFormat))
def test_units(format):
    boxes = Boxes(torch.tensor([[10.0, 20.0, 30.0, 40.0]]), format, BoxUnit.PIXEL)
    fractions = boxes.to_unit(BoxUnit.FRACTION, 100, 50)
    torch.testing.assert_close(fractions.data, torch.tensor([[0.1, 0.4, 0.3, 0.8]]))
    assert fractions.unit is BoxUnit.FRACTION
    torch.testing.assert_close(fractions.to_unit(BoxUnit.PIXEL, 100, 50).data, boxes.data)
    assert boxes.to_unit(BoxUnit.PIXEL, 7, 7) is boxes
    assert boxes.to_format(format) is boxes


@pytest.mark.parametrize("shape", [(4,), (2, 5), (1, 2, 4)])
def test_shape_is_checked(shape):
    with pytest.raises(ValueError, match=r"must be \[N, 4\]"):
        Boxes(torch.zeros(shape), BoxFormat.XYXY, BoxUnit.PIXEL)
