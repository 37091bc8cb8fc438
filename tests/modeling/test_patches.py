"""Patches become vectors as a convolution makes them."""

import pytest
import torch
from torch import nn

from xfm.models.vision import PatchEmbedding


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 24), (4, 4)])
def test_it_is_the_convolution_without_overlap(height: int, width: int) -> None:
    ours, theirs = PatchEmbedding(3, 10, 4, stride=4).double(), nn.Conv2d(3, 10, 4, stride=4).double()
    theirs.load_state_dict(ours.state_dict())
    pixels = torch.randn(2, 3, height, width, dtype=torch.float64)
    rows = [one.clone().requires_grad_() for one in (pixels, pixels)]
    found, expected = ours(rows[0]), theirs(rows[1]).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    kept = torch.randn_like(found)
    (found * kept).sum().backward()
    (expected * kept).sum().backward()
    for one, other in zip((*ours.parameters(), rows[0]), (*theirs.parameters(), rows[1]), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours.float()(pixels.float()).dtype == torch.bfloat16


def test_a_picture_that_is_not_whole_patches_is_refused() -> None:
    with pytest.raises(RuntimeError):
        PatchEmbedding(3, 10, 4, stride=4)(torch.randn(1, 3, 18, 16))
