"""bf16 where it is wanted, and close enough to float32."""

import pytest
import torch

from tests.modeling.build import VOCAB, gradients, losses_of, random_batch, tiny_model
from xfm.config.training import Precision
from xfm.modeling import precision
from xfm.modeling.precision import autocast, bf16_is_fast, hold, working_dtype


@pytest.fixture(params=[False, True], ids=["slow bf16", "fast bf16"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Pretend a device that is good, or not, at bf16."""
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: request.param)
    return request.param


@pytest.mark.parametrize("wanted", Precision)
@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_products_run_in_the_wanted_dtype(wanted: Precision, device: str | torch.device, fast: bool) -> None:
    is_bf16 = wanted is Precision.BF16 or (wanted is Precision.AUTO and fast)
    layer, inputs = torch.nn.Linear(4, 3), torch.randn(2, 4)
    with autocast(wanted, device):
        assert torch.is_autocast_enabled("cpu") == is_bf16
        assert layer(inputs).dtype == (torch.bfloat16 if is_bf16 else torch.float32)
    assert not torch.is_autocast_enabled("cpu")
    assert layer(inputs).dtype == torch.float32


@pytest.mark.parametrize(("gain", "is_fast"), [(0.5, False), (1.1, False), (1.6, True), (6.0, True)])
def test_bf16_must_be_worthwhile(gain: float, is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_cpu_gain", lambda: gain)
    assert bf16_is_fast(torch.device("cpu")) is is_fast
    assert not bf16_is_fast(torch.device("meta"))


def test_the_gain_is_measured_once() -> None:
    gain = precision._cpu_gain()
    assert precision._cpu_gain() == gain
    assert gain > 0 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else gain == 0


def test_states_take_the_dtype_of_the_products() -> None:
    states = torch.randn(3, 4, requires_grad=True)
    assert working_dtype(states) is states
    with autocast(Precision.BF16, "cpu"):
        lowered = working_dtype(states)
        assert lowered.dtype == torch.bfloat16
        assert working_dtype(lowered) is lowered
        with torch.autocast("cpu", enabled=False):
            assert working_dtype(states) is states
    lowered.sum().backward()
    assert states.grad is not None
    assert states.grad.dtype == torch.float32


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found.float() - expected).norm() / expected.norm()).item()


@torch.no_grad()
def test_bf16_states_are_close_to_float32() -> None:
    model, batch = tiny_model().eval(), random_batch()
    pair = batch.pair
    assert pair is not None

    def states() -> dict[str, torch.Tensor]:
        image = model.encode_image(pair.pixels, pair.patch_mask)
        text = model.encode_text(pair.tokens.ids, pair.tokens.mask)
        fused = model.fuse(text, pair.tokens.mask, image)
        return {
            "image": image,
            "text": text,
            "fused": fused,
            "features": model.embed_image(pair.pixels),
            "logits": model.fusion_logits(fused[:, 1]),
            "boxes": model.boxes(fused),
        }

    expected = states()
    assert all(value.dtype == torch.float32 for value in expected.values())
    with autocast(Precision.BF16, "cpu"):
        found = states()
    assert found["text"].dtype == found["fused"].dtype == torch.bfloat16
    assert found["features"].dtype == found["boxes"].dtype == torch.float32
    for name, value in found.items():
        assert 0 < relative_error(value, expected[name]) < 0.03, name


def test_bf16_losses_and_gradients_are_close_to_float32() -> None:
    model, batch = tiny_model(), random_batch()

    def step() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        model.zero_grad()
        losses = losses_of(model, batch)
        losses.total.backward()
        return {name: part.detach() for name, part in losses.parts.items()}, gradients(model)

    expected_losses, expected = step()
    with autocast(Precision.BF16, "cpu"):
        found_losses, found = step()
    for name, loss in found_losses.items():
        assert loss.dtype == torch.float32, name
        assert loss.item() == pytest.approx(expected_losses[name].item(), rel=0.03, abs=0.01), name
    assert found.keys() == expected.keys()
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    joined, joined_expected = (torch.cat([g.flatten() for g in gs.values()]) for gs in (found, expected))
    assert torch.cosine_similarity(joined, joined_expected, dim=0) > 0.99


def test_matrices_that_are_held_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `autocast` would convert in every pass; heads, norms and embeddings stay as they are."""
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: True)
    model = tiny_model().eval()
    pixels, ids = torch.randn(2, 3, 32, 32), torch.randint(4, VOCAB, (2, 7))
    mask = torch.ones(2, 7, dtype=torch.bool)

    def answers() -> list[torch.Tensor]:
        with torch.inference_mode(), autocast(Precision.AUTO, "cpu"):
            text, image = model.encode_text(ids, mask), model.encode_image(pixels)
            return [text, image, model.match_logits(model.fuse_first(text, mask, image))]

    before = answers()
    hold([model.vision, model.language, model.fusion], Precision.FP32, "cpu")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    hold([model.vision, model.language, model.fusion], Precision.AUTO, "cpu")
    assert model.vision.blocks[0].fc1.weight.dtype == torch.bfloat16
    assert model.itm_head[0].weight.dtype == model.language.words.weight.dtype == torch.float32
    for one, other in zip(before, answers(), strict=True):
        assert torch.equal(one, other)
