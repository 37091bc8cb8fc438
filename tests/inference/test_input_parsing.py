"""Pictures and mappings as users give them."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import xfm
from tests.data.picture_kinds import saved
from tests.data.web_server import serving
from tests.refusals import expect_refusal
from xfm.config.pipelines import UrlRules
from xfm.data.images import to_uint8
from xfm.inference.input_parsing import read_original


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_arrays_tensors_and_pil_pictures_are_the_same_pixels(width: int, height: int, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = torch.from_numpy(array).permute(2, 0, 1)
    for form in (
        array,
        np.asfortranarray(array),
        expected,
        Image.fromarray(array),
        np.dstack([array, np.full_like(array[..., :1], 255)]),
    ):
        assert torch.equal(to_uint8(form), expected)
    grey = torch.from_numpy(array[..., 0]).expand(3, -1, -1)
    for form in (array[..., 0], array[..., :1], grey[:1], Image.fromarray(array[..., 0])):
        assert torch.equal(to_uint8(form), grey)


def test_what_is_transparent_shows_white() -> None:
    array = np.zeros((2, 2, 4), dtype=np.uint8)
    array[0, :, 3] = 255
    for form in (
        array,
        torch.from_numpy(array).permute(2, 0, 1),
        Image.fromarray(array),
        saved(Image.fromarray(array), "PNG"),
    ):
        assert read_original(form)[0].tolist() == [[0, 0], [255, 255]]


def test_a_pipeline_fetches_what_is_allowed(models: dict) -> None:
    with serving() as server:
        for allowed, words in (
            (True, "not a public address"),
            (UrlRules(seconds=5, private=True), "not a JPEG, PNG, WebP"),
            (["*.example.org"], "127.0.0.1 is none of the hosts that are asked: *.example.org"),
        ):
            with expect_refusal(words):
                xfm.pipeline("embed", model=models[None], allow_urls=allowed)(image=f"{server}/picture")
