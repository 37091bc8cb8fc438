"""Grad-CAM on the fusion encoder's cross-attention."""

from typing import Any

import numpy as np
import pytest
import torch

import xfm
import xfm.inference.attention as module
from tests.inference.models import pictures, texts, tuned
from tests.modeling.build import fuse
from tests.refusals import expect_refusal
from xfm.data.schema import Tokens
from xfm.inference.attention import attention_maps, default_layer, grad_cam
from xfm.models.folder import Pretrained

LAYERS = (0, 1)


@pytest.fixture(scope="module")
def model() -> Pretrained:
    return tuned(None)


def given(model: Pretrained, rows: int = 3) -> tuple[torch.Tensor, Tokens]:
    torch.manual_seed(0)
    return torch.randn(rows, 3, 32, 32), model.tokenizer.encode_batch(texts(rows), 40).tokens


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
        attend, seen = module._attend, {}
        places = [(head, token, key) for head in range(4) for token in (0, 1) for key in (1, 16)]
        gains = {}
        for place in places:
            calls = iter(range(99))

            def nudged(
                part: Any, states: Any, image: Any, watch: bool, place: Any = place, calls: Any = calls
            ) -> Any:
                if next(calls) != layer:
                    return attend(part, states, image, watch)
                query, (key, value) = part.query(states), part.key_value(image).chunk(2, dim=-1)
                split = [module.split_heads(t, part.heads) for t in (query, key, value)]
                weights = (split[0] @ split[1].transpose(-1, -2) / split[0].shape[-1] ** 0.5).softmax(-1)
                seen["weights"] = weights
                change = torch.zeros_like(weights)
                change[(0, *place)] = 1e-5
                joined = module.join_heads((weights + change) @ split[2])
                return part.norm(states + part.out(joined)), weights

            monkeypatch.setattr(module, "_attend", nudged)
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


def test_rows_do_not_touch_one_another(model: Pretrained) -> None:
    pixels, tokens = given(model, 4)
    together, _ = grad_cam(model.model, pixels, tokens, 0)
    for row in range(4):
        part = slice(row, row + 1)
        alone, _ = grad_cam(model.model, pixels[part], Tokens(tokens.ids[part], tokens.mask[part]), 0)
        real = tokens.mask[row]
        torch.testing.assert_close(together[row][real], alone[0][real], rtol=1e-3, atol=1e-6)


def test_the_last_layer_knows_the_first_token_only(model: Pretrained) -> None:
    heat, _ = grad_cam(model.model, *given(model), 1)
    assert heat[:, 0].sum() > 0
    assert not heat[:, 1:].any()


def test_words_and_whole(model: Pretrained) -> None:
    shown = pictures(1)[0]
    text = "A red square, left of a BLUE square!"
    maps = attention_maps(model, shown, text, layer=0)
    assert maps.words == ("a", "red", "square", "left", "of", "a", "blue", "square")
    assert maps.maps.shape == (8, 4, 4)
    assert maps.whole.shape == (4, 4)
    assert maps.maps.dtype == np.float32
    drawn = maps.draw(columns=3)
    assert drawn.height > maps.draw(words=False).height
    match = xfm.pipeline("image-text-matching", model=model)(image=shown, text=text)
    assert maps.match == pytest.approx(match["score"], abs=1e-5)


def test_the_default_is_in_the_middle() -> None:
    assert [default_layer(depth) for depth in (1, 2, 3, 6, 12)] == [0, 1, 1, 3, 6]


@pytest.mark.parametrize(
    ("text", "layer", "words"),
    [("?!", None, "holds no words"), ("a", 2, "layers 0 to 1"), ("a", -1, "layer is -1")],
)
def test_what_cannot_be_is_named(model: Pretrained, text: str, layer: int | None, words: str) -> None:
    with expect_refusal(words):
        attention_maps(model, pictures(1)[0], text, layer)
