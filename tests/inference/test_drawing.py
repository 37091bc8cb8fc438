"""Boxes and heat maps on pictures."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

import xfm
import xfm.inference.attention as module
from tests.inference.models import pictures, texts, tuned
from tests.modeling.build import fuse
from xfm.data.schema import Tokens
from xfm.inference.attention import attention_maps, grad_cam
from xfm.inference.drawing import COLOURS, draw_boxes, draw_heat
from xfm.models.folder import Pretrained


def box(left: float, top: float, right: float, bottom: float, label: str = "") -> dict[str, Any]:
    return {"label": label, "box": {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}}


sides = st.integers(8, 60)


@given(st.integers(0, 40), st.integers(0, 30), sides, sides, st.sampled_from([0, 200, 480]))
def test_a_box_is_drawn_where_it_is(left: int, top: int, width: int, height: int, least: int) -> None:
    """Its outline reaches just as far as the box, in a picture that is enlarged by whole steps."""
    picture = Image.new("RGB", (110, 100), "white")
    drawn = draw_boxes(picture, [box(left, top, left + width, top + height)], least_side=least)
    scale = drawn.width // 110
    assert drawn.size == (110 * scale, 100 * scale)
    assert max(drawn.size) >= least
    rows, columns = np.nonzero((np.asarray(drawn) == ImageColor.getrgb(COLOURS[0])).all(-1))
    assert (columns.min(), rows.min()) == (left * scale, top * scale)
    assert columns.max() == min((left + width) * scale, drawn.width - 1)
    assert rows.max() == min((top + height) * scale, drawn.height - 1)
    middle = drawn.getpixel((int((left + width / 2) * scale), int((top + height / 2) * scale)))
    assert middle == (255, 255, 255)
    assert not np.asarray(picture).min() < 255  # the given picture is as it was


def test_heat_darkens_where_it_is() -> None:
    picture = Image.new("RGB", (90, 60), (240, 240, 240))
    heat = np.zeros((2, 3), dtype=np.float32)
    assert np.array_equal(np.asarray(draw_heat(picture, heat, least_side=0)), np.asarray(picture))
    heat[1, 2] = 5
    drawn = np.asarray(draw_heat(picture, heat, least_side=0)).astype(int)
    assert drawn.shape == (60, 90, 3)
    brightness = drawn.sum(-1)
    row, column = np.unravel_index(brightness.argmin(), brightness.shape)
    assert row >= 40
    assert column >= 70
    assert (drawn[:20, :30] == 240).all()
    twice = np.asarray(draw_heat(picture, 3 * heat, least_side=0)).astype(int)
    assert abs(twice - drawn).max() <= 1  # a map is relative to its own maximum


LAYERS = (0, 1)


@pytest.fixture(scope="module")
def model() -> Pretrained:
    return tuned(None)


def given(model: Pretrained, rows: int = 3) -> tuple[torch.Tensor, Tokens]:
    torch.manual_seed(0)
    return torch.randn(rows, 3, 32, 32), model.tokenizer.encode_batch(texts(rows), 40)


@pytest.mark.parametrize("layer", LAYERS)
def test_watching_changes_nothing(model: Pretrained, layer: int) -> None:
    pixels, tokens = given(model)
    with torch.no_grad():
        expected = model.model.match_logits(fuse(model.model, tokens, pixels))
    heat, logits = grad_cam(model.model, pixels, tokens, layer)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert heat.shape == (*tokens.ids.shape, 16)
    assert (heat >= 0).all()
    assert all(parameter.grad is None for parameter in model.model.parameters())


@pytest.mark.parametrize("layer", LAYERS)
def test_a_map_is_weight_times_gain(model: Pretrained, layer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gain of a weight by changing it a little, one weight at a time."""
    pixels, tokens = given(model, 1)
    whole = model.model.double()
    try:
        heat, _ = grad_cam(whole, pixels.double(), tokens, layer)
        with torch.no_grad():
            text, image = whole.encode_text(tokens.ids, tokens.mask), whole.encode_image(pixels.double())
            before = whole.itm_head(whole.fuse(text, tokens.mask, image)[:, 0])
        softmax, seen = torch.Tensor.softmax, {}
        places = [(head, token, key) for head in range(4) for token in (0, 1) for key in (1, 16)]
        gains = {}
        for place in places:
            calls = iter(range(99))

            def nudged(scores: Any, dim: int, place: Any = place, calls: Any = calls) -> Any:
                weights = softmax(scores, dim)
                if next(calls) != layer:
                    return weights
                seen["weights"], change = weights, torch.zeros_like(weights)
                change[(0, *place)] = 1e-5
                return weights + change

            monkeypatch.setattr(torch.Tensor, "softmax", nudged)
            with torch.no_grad():
                fused, _ = module._fuse_watching(whole, text, tokens.mask, image, layer)
                gains[place] = ((whole.itm_head(fused[:, 0]) - before)[0, 1] / 1e-5).item()
        monkeypatch.undo()
        parts = {place: seen["weights"][(0, *place)].item() * max(gains[place], 0) for place in places}
        assert seen["weights"].shape[1] == 4
        assert max(gains.values()) > 1e-3
        for token in (0, 1):
            for key in (1, 16):
                mean = sum(parts[head, token, key] for head in range(4)) / 4
                assert heat[0, token, key - 1].item() == pytest.approx(mean, rel=1e-3, abs=1e-7)
    finally:
        model.model.float()


def test_words_and_whole(model: Pretrained) -> None:
    shown = pictures(1)[0]
    text = "A red square, left of a BLUE square!"
    maps = attention_maps(model, shown, text, layer=0)
    assert maps.words == ("a", "red", "square", "left", "of", "a", "blue", "square")
    assert maps.maps.shape == (8, 4, 4)
    assert maps.whole.shape == (4, 4)
    assert maps.maps.dtype == np.float32
    assert maps.draw().tobytes() != maps.draw(1).tobytes()
    match = xfm.pipeline("image-text-matching", model=model)(image=shown, text=text)
    assert maps.match == pytest.approx(match["score"], abs=1e-5)
