"""Real-life pictures: each is read as a viewer shows it, or named."""

import numpy as np
import pytest
import torch
from torchvision.io import ImageReadMode, decode_jpeg, decode_webp

from tests.data.conftest import PICTURE
from tests.data.picture_kinds import base, kinds, saved
from tests.refusals import expect_refusal
from xfm.data.images import ImageError, decode, image_size, load_image, size_of_image

KINDS = kinds()


@pytest.mark.parametrize("name", KINDS)
def test_read_as_a_viewer_shows_it_or_named(name: str) -> None:
    kind = KINDS[name]
    if kind.shown is None:
        with pytest.raises(ImageError, match=kind.words):
            decode(kind.data)
        return
    pixels = decode(kind.data).permute(1, 2, 0).numpy()
    assert pixels.shape == kind.shown.shape
    assert np.abs(pixels.astype(int) - kind.shown).mean() <= kind.tolerance
    assert size_of_image(kind.data) == (kind.shown.shape[1], kind.shown.shape[0])


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_plain_pictures_are_what_torchvision_makes_of_them(mode: str, progressive: bool) -> None:
    picture = base(333, 217).convert(mode)
    jpeg = saved(picture, "JPEG", quality=87, progressive=progressive)
    expected = decode_jpeg(torch.frombuffer(bytearray(jpeg), dtype=torch.uint8), mode=ImageReadMode.RGB)
    assert torch.equal(decode(jpeg), expected)
    webp = saved(picture, "WEBP", quality=80)
    expected = decode_webp(torch.frombuffer(bytearray(webp), dtype=torch.uint8), mode=ImageReadMode.RGB)
    assert torch.equal(decode(webp), expected)
    png = saved(picture, "PNG")
    assert torch.equal(decode(png), torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1))


def test_size_and_pixels_are_those_of_the_bytes(tmp_path):
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    assert image_size(tmp_path / "a.jpg") == (40, 30)
    assert torch.equal(load_image(tmp_path / "a.jpg"), decode(PICTURE))
    with expect_refusal("limit of 10"):
        load_image(tmp_path / "a.jpg", max_pixels=10)
