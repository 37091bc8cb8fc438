"""Pictures by path: their sizes, their pixels, and the pixels of evaluation."""

import os

import numpy as np
import pytest
import torch

from tests.data.conftest import picture_bytes
from xfm.data.picture_files import image_size, load_image
from xfm.data.pictures import decode
from xfm.errors import UserError


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
    assert torch.equal(load_image(tmp_path / "a.jpg"), decode(data).pixels)
    (tmp_path / "b.jpg").write_bytes(data[:200])
    with pytest.raises(UserError, match=r"b\.jpg: the picture.*replace the file"):
        load_image(tmp_path / "b.jpg")
    with pytest.raises(UserError, match=r"absent\.jpg cannot be read"):
        load_image(tmp_path / "absent.jpg")
    with pytest.raises(UserError, match="not a file"):
        load_image(tmp_path)
    with pytest.raises(UserError, match="limit of 10"):
        load_image(tmp_path / "a.jpg", max_pixels=10)
