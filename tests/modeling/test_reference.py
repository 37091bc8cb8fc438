"""The encoders against transformers and timm, on random weights in float64."""

import timm
import torch
from transformers import RobertaModel

from tests.modeling.build import roberta_config, spread, tiny_model
from xfm.interop.published.names import to_published
from xfm.modeling.heads import MLPHead
from xfm.modeling.vision import relative_position_index, sine_positions


def test_language_equals_roberta() -> None:
    model = tiny_model().double().eval()
    spread(model)
    c = model.config.language
    reference = RobertaModel(roberta_config(c, c), add_pooling_layer=False).double().eval()
    state = to_published(model.state_dict(), model.config)
    prefix = "text_encoder.roberta."
    reference.load_state_dict(
        {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, strict=True
    )
    ids = torch.randint(4, c.vocab_size, (5, 11))
    mask = torch.arange(11) < torch.tensor([11, 3, 7, 9, 2])[:, None]
    ids = ids.masked_fill(~mask, 1)
    expected = reference(ids, attention_mask=mask.long()).last_hidden_state
    ours = model.encode_text(ids, mask)
    torch.testing.assert_close(ours[mask], expected[mask], rtol=0, atol=1e-9)


def test_vision_equals_beit() -> None:
    model = tiny_model().double().eval()
    spread(model)
    c = model.config.vision
    reference = timm.models.beit.Beit(
        img_size=c.image_size, patch_size=c.patch_size, embed_dim=c.width, depth=c.depth, num_heads=c.heads,
        init_values=0.1, num_classes=0, global_pool="avg", use_abs_pos_emb=False, use_rel_pos_bias=True,
    ).double().eval()  # fmt: skip
    state = to_published(model.state_dict(), model.config)
    prefix = "vision_encoder."
    theirs = {
        k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix) and "mask_token" not in k
    }
    missing, unexpected = reference.load_state_dict(theirs, strict=False)
    assert not unexpected
    assert all("relative_position_index" in name or "k_bias" in name for name in missing)
    pixels = torch.randn(2, 3, c.image_size, c.image_size, dtype=torch.float64)
    blocks = reference.forward_features(pixels)
    expected = reference.fc_norm(blocks[:, 1:])
    pooled = model.encode_image(pixels)
    torch.testing.assert_close(pooled[:, 1:], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(pooled[:, 0], expected.mean(1), rtol=0, atol=1e-9)


def test_relative_position_index_is_beits() -> None:
    attention = timm.models.beit.Attention(8, num_heads=2, window_size=(5, 5))
    assert torch.equal(relative_position_index((5, 5)), attention.relative_position_index)


def test_sine_positions_tell_places_apart() -> None:
    positions = sine_positions((8, 8), 64)
    assert positions.shape == (64, 64)
    distances = torch.cdist(positions, positions)
    assert distances[~torch.eye(64, dtype=torch.bool)].min() > 0.5
    # A linear layer can read the coordinates.
    rows = torch.arange(64) // 8
    design = torch.cat([positions, torch.ones(64, 1)], 1)
    solution = torch.linalg.lstsq(design, rows.float()[:, None], driver="gelsd").solution
    torch.testing.assert_close((design @ solution).squeeze(1), rows.float(), atol=0.05, rtol=0)


def test_head_shape() -> None:
    shapes = [tuple(p.shape) for p in MLPHead(8, 3).parameters()]
    assert shapes == [(16, 8), (16,), (16,), (16,), (3, 16), (3,)]
