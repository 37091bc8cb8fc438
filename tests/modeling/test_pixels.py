"""Pictures become pixels and patches of any size, as torchvision and laws of resampling say."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from tests.inference.models import save
from tests.modeling.build import tiny_model
from xfm.config.encoders import Positions, VisionConfig
from xfm.config.image import Colours, Framing
from xfm.models.artifacts import framed
from xfm.models.folder import Preprocessing, load_model
from xfm.models.vision import ConvolutionalStem, PatchEmbedding, VisionEncoder, resample_table

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


@pytest.mark.parametrize("shape", [(3, 60_000, 1), (3, 1, 60_000)])
def test_the_middle_of_a_strip_takes_no_more_memory_than_a_picture(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of 60,000 pixels was enlarged to 256 x 15,360,000 of them before its middle was cut out."""
    sizes: list[int] = []

    def watched(picture: torch.Tensor, size: list[int], *options: object, **more: Any) -> torch.Tensor:
        sizes.append(size[0] * size[1])
        return resize(picture, size, *options, **more)

    resize = v2.functional.resize
    monkeypatch.setattr(v2.functional, "resize", watched)
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


@pytest.mark.parametrize("stem", [(5,), (4, 6)])
def test_the_stem_is_its_convolutions(stem: tuple[int, ...]) -> None:
    config = VisionConfig(16, 8, width=8, depth=1, heads=2, image_width=24, stem=stem)
    ours, pixels = ConvolutionalStem(config).double(), torch.randn(2, 3, 16, 24, dtype=torch.float64)
    side, (first, *others) = 8 >> len(stem), ours.projections
    cells = nn.functional.conv2d(pixels, first.weight.view(-1, 3, side, side), first.bias, stride=side)
    for norm, one in zip(ours.norms, others, strict=True):
        cells = nn.functional.gelu(norm(cells.movedim(1, -1))).movedim(-1, 1)
        weight = one.weight.unflatten(1, (3, 3, -1)).permute(0, 3, 1, 2)
        cells = nn.functional.conv2d(nn.functional.pad(cells, (1, 0, 1, 0)), weight, one.bias, stride=2)
    torch.testing.assert_close(ours(pixels), cells.flatten(2).mT)
    assert VisionEncoder(config)(pixels.float()).shape == (2, 7, 8)


sides = st.integers(1, 9)
grids = st.tuples(sides, sides)


def offsets(table: Tensor, grid: tuple[int, int]) -> Tensor:
    return table[:-3].view(2 * grid[0] - 1, 2 * grid[1] - 1, -1)


@settings(max_examples=60)
@given(grids, grids)
def test_laws(old, new):
    table = torch.randn((2 * old[0] - 1) * (2 * old[1] - 1) + 3, 2)
    found = resample_table(table, old, new)
    assert len(found) == (2 * new[0] - 1) * (2 * new[1] - 1) + 3
    assert torch.equal(found[-3:], table[-3:])
    # The nearest offsets and the constant table stay; rows and columns are exchangeable.
    reach = [min(1, n - 1, m - 1) for n, m in zip(old, new, strict=True)]
    for down in range(-reach[0], reach[0] + 1):
        for across in range(-reach[1], reach[1] + 1):
            near = offsets(found, new)[new[0] - 1 + down, new[1] - 1 + across]
            expected = offsets(table, old)[old[0] - 1 + down, old[1] - 1 + across]
            torch.testing.assert_close(near, expected, rtol=1e-5, atol=1e-5)
    constant = resample_table(torch.full_like(table, 0.7), old, new)
    torch.testing.assert_close(constant, torch.full_like(found, 0.7))
    turned = torch.cat([offsets(table, old).transpose(0, 1).flatten(0, 1), table[-3:]])
    other = resample_table(turned, old[::-1], new[::-1])
    torch.testing.assert_close(offsets(other, new[::-1]).transpose(0, 1), offsets(found, new))
    if old == new:
        assert torch.equal(found, table)


@pytest.mark.parametrize("size", [(48, None), (32, 48)])
@pytest.mark.parametrize("positions", list(Positions))
def test_a_model_of_another_size_is_the_one_built_for_it(size, positions):
    """Resizing equals building for that size and loading resampled tables."""
    model = tiny_model(positions=positions).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "relative_position_table" in name:
                parameter.normal_()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    model.resize(*size)
    fresh = type(model)(model.config).eval()
    old, new = (4, 4), model.config.vision.grid
    for name in before:
        if "relative_position_table" in name:
            before[name] = resample_table(before[name], old, new)
    fresh.load_state_dict(before)
    height, width = size[0], size[1] or size[0]
    pixels = torch.randn(2, 3, height, width)
    patch_mask = torch.rand(2, new[0] * new[1]) < 0.4
    torch.testing.assert_close(model.encode_image(pixels, patch_mask), fresh.encode_image(pixels, patch_mask))
    assert model.encode_image(pixels).shape == (2, 1 + new[0] * new[1], model.config.vision.width)


def test_a_folder_loads_at_another_size(saved, tmp_path):
    loaded = load_model(saved, 24, 40)
    assert loaded.preprocessing.shape == (24, 40)
    pixels = torch.randn(2, 3, 24, 40)
    expected = loaded.model.embed_image(pixels)
    save(tmp_path / "new", loaded)
    again = load_model(tmp_path / "new")
    assert again.preprocessing == loaded.preprocessing
    assert torch.equal(again.model.embed_image(pixels), expected)
    assert torch.equal(load_model(saved, 32).model.vision.cls, load_model(saved).model.vision.cls)
