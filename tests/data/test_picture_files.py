"""Pictures by path: their sizes and their pixels."""

import os

import pytest
import torch

from tests.data.conftest import PICTURE
from tests.refusals import expect_refusal
from xfm.data.images import decode, image_size, load_image


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.jpg").write_bytes(PICTURE)
    (tmp_path / "cut.jpg").write_bytes(PICTURE[:200])
    os.mkfifo(tmp_path / "pipe.jpg")
    return tmp_path


def test_size_and_pixels_are_those_of_the_bytes(folder):
    assert image_size(folder / "a.jpg") == (40, 30)
    assert torch.equal(load_image(folder / "a.jpg"), decode(PICTURE).pixels)
    with expect_refusal("limit of 10"):
        load_image(folder / "a.jpg", max_pixels=10)


@pytest.mark.parametrize("use", [image_size, load_image])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pipe.jpg", ["pipe.jpg is not a file", "check the path"]),
        (".", ["is not a file", "check the path"]),
        ("absent.jpg", ["absent.jpg cannot be read", "check the path"]),
        ("a\0", ["is not a path", "check the path"]),
        ("\ud800.jpg", ["is not a path", "check the path"]),
        ("cut.jpg", ["cut.jpg: the picture", "replace the file"]),
    ],
)
def test_a_file_that_is_no_picture_is_named(folder, name, words, use):
    with expect_refusal(*words):
        use(folder / name)
