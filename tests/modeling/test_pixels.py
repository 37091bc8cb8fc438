"""How pictures become pixels and patches: torchvision's transforms and a convolution are the references."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import InterpolationMode, v2

from xfm.config.image import Colours, Framing
from xfm.models import artifacts
from xfm.models.artifacts import framed
from xfm.models.folder import Preprocessing
from xfm.models.vision import PatchEmbedding

SIDES = {Framing.CENTRE: 256, Framing.CLOSE_CENTRE: 288}


@pytest.mark.parametrize("framing", SIDES)
@pytest.mark.parametrize("shape", [(100, 60), (256, 341)])
def test_the_centre_is_torchvisions(shape: tuple[int, int], framing: Framing) -> None:
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8))
    resized = v2.Resize(SIDES[framing], InterpolationMode.BICUBIC, antialias=True)
    steps = v2.Compose([resized, v2.CenterCrop(224)])
    ours = framed(picture, Preprocessing(224, framing=framing))
    assert ours.shape == (3, 224, 224)
    assert (ours.int() - steps(picture).int()).abs().float().mean() < 1


def test_grey_pictures_are_torchvisions() -> None:
    picture = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 32, 32), dtype=np.uint8))
    ours = framed(picture, Preprocessing(32, grey=True))
    assert torch.equal(ours, v2.Grayscale(3)(picture))
    assert torch.equal(ours[0], ours[2])


@pytest.mark.parametrize("shape", [(3, 60_000, 1), (3, 1, 60_000)])
def test_the_middle_of_a_strip_takes_no_more_memory_than_a_picture(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of 60,000 pixels was enlarged to 256 x 15,360,000 of them before its middle was cut out."""
    sizes: list[int] = []

    def watched(picture: torch.Tensor, size: list[int], *options: object, **more: Any) -> torch.Tensor:
        sizes.append(size[0] * size[1])
        return resize(picture, size, *options, **more)

    resize = artifacts.resize
    monkeypatch.setattr(artifacts, "resize", watched)
    picture = torch.randint(0, 256, shape, dtype=torch.uint8)
    assert framed(picture, Preprocessing(32, framing=Framing.CENTRE)).shape == (3, 32, 32)
    assert max(sizes) <= 37 * 37 * 16


def test_what_is_given_takes_the_place_of_the_models() -> None:
    own = Preprocessing(32, mean=(0.1, 0.2, 0.3), framing=Framing.CENTRE)
    assert own.seen_as(None, Colours.MODEL) == own
    other = own.seen_as(Framing.SQUASH, Colours.HALF)
    assert other == Preprocessing(32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert own.seen_as(None, Colours.IMAGENET).framing is Framing.CENTRE


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
