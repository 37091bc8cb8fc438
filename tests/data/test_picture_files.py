"""Pictures by path: their sizes, their pixels, and the pixels of evaluation."""

import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from tests.data.conftest import picture_bytes
from xfm.data.picture_files import eval_pixels, image_size, load_image
from xfm.data.pictures import decode_picture
from xfm.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    shape: tuple[int, int] = (48, 48)
    mean: tuple[float, float, float] = (0.5, 0.4, 0.3)
    std: tuple[float, float, float] = (0.2, 0.3, 0.4)


def test_sizes_of_pictures(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture_bytes(np.random.default_rng(0), 40, 30))
    assert image_size(tmp_path / "a.jpg") == (40, 30)
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, message in (
        ("pipe.jpg", "is not a file"),
        ("a.jsonl", "cannot be read"),
        ("a\0", "not a path"),
    ):
        for use in (image_size, load_image):
            with pytest.raises(UserError, match=f"{message}.*; check the path"):
                use(tmp_path / name)
    with pytest.raises(UserError, match="is not a path"):
        load_image("\ud800.jpg")


def test_load_image(tmp_path):
    data = picture_bytes(np.random.default_rng(0), 40, 30)
    (tmp_path / "a.jpg").write_bytes(data)
    assert torch.equal(load_image(tmp_path / "a.jpg"), decode_picture(data))
    (tmp_path / "b.jpg").write_bytes(data[:200])
    with pytest.raises(UserError, match=r"b\.jpg: the picture.*replace the file"):
        load_image(tmp_path / "b.jpg")
    with pytest.raises(UserError, match=r"absent\.jpg cannot be read"):
        load_image(tmp_path / "absent.jpg")
    with pytest.raises(UserError, match="not a file"):
        load_image(tmp_path)
    with pytest.raises(UserError, match="limit of 10"):
        load_image(tmp_path / "a.jpg", max_pixels=10)


def test_eval_pixels_equal_torchvision():
    rng = np.random.default_rng(0)
    images = [decode_picture(picture_bytes(rng, *size)) for size in [(40, 30), (48, 48), (200, 100)]]
    transform = v2.Compose(
        [
            v2.Resize((48, 48), interpolation=InterpolationMode.BICUBIC, antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(Preprocessing.mean, Preprocessing.std),
        ]
    )
    pixels = eval_pixels(images, Preprocessing())
    assert pixels.shape == (3, 3, 48, 48)
    torch.testing.assert_close(
        pixels, torch.stack([transform(image) for image in images]), atol=5e-6, rtol=1e-5
    )
    assert eval_pixels([], Preprocessing()).shape == (0, 3, 48, 48)
