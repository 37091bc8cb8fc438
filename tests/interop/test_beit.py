"""The native vision encoder on BEiT weights in every layout, against timm and transformers."""

import json

import pytest
import timm
import torch
from timm.models._hub import save_for_hf
from torch import Tensor
from transformers import BeitConfig, BeitForImageClassification, BeitForMaskedImageModeling, BeitModel

from tests.interop.foreign import assert_equal, edit_json, randomise
from xfm.errors import UserError
from xfm.interop.compose import beit_repository, read_vision

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}
DTYPES = [torch.float64, torch.float32]
SHARED = {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}


def timm_beit(**options):
    torch.manual_seed(0)
    return randomise(timm.create_model("beitv2_base_patch16_224", **(SIZES | {"num_classes": 7} | options)))


def patches_of(reference, pixels: Tensor) -> Tensor:
    """Each patch normalised by the model's own last norm, which X-FM takes the mean of."""
    return reference.fc_norm(reference.forward_features(pixels))[:, 1:]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, SHARED, {"use_fc_norm": False}, {"init_values": None}])
@pytest.mark.parametrize("layout", ["timm", "published"])
@torch.no_grad()
def test_timm_and_published_layouts(layout, options, dtype, tmp_path):
    """The published files have the same names, a mask vector, and lie inside a pickled dictionary."""
    reference = timm_beit(**options)
    mask = torch.randn(1, 1, 48)
    if layout == "timm":
        save_for_hf(reference, tmp_path / "model", safe_serialization=True)
        part = read_vision(str(tmp_path / "model"))
        assert part.fresh == ("mask_vector",)
        assert part.preprocessing.mean == tuple(reference.pretrained_cfg["mean"])
        assert part.preprocessing.std == tuple(reference.pretrained_cfg["std"])
    else:
        stored = reference.state_dict() | {"mask_token": mask, "lm_head.weight": torch.zeros(9, 48)}
        torch.save({"model": stored, "epoch": 3}, tmp_path / "beit.pth")
        part = read_vision(str(tmp_path / "beit.pth"))
        assert part.fresh == ()
        assert torch.equal(part.encoder.mask_vector, mask.flatten())
        assert "lm_head.weight" in part.ignored
    assert part.preprocessing.image_size == 32
    pixels = torch.randn(3, 3, 32, 32, dtype=dtype)
    found, expected = part.encoder.to(dtype)(pixels), patches_of(reference.to(dtype), pixels)
    assert_equal(found[:, 1:], expected)
    assert_equal(found[:, 0], expected.mean(1))


def transformers_config(**options) -> BeitConfig:
    sizes = {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "layer_scale_init_value": 0.1,
        "use_relative_position_bias": True,
        "use_mask_token": True,
    }
    return BeitConfig(**(sizes | options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@torch.no_grad()
def test_transformers_layout(shared, pooled, dtype, tmp_path):
    """Fine-tuned models normalise what they pool, pre-trained ones every token; masks are theirs too."""
    config = transformers_config(
        use_relative_position_bias=not shared,
        use_shared_relative_position_bias=shared,
        use_mean_pooling=pooled,
    )
    whole = randomise(BeitForImageClassification(config) if pooled else BeitModel(config))
    whole.save_pretrained(tmp_path)
    values = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    part = read_vision(str(tmp_path))
    assert part.preprocessing.mean == (0.5, 0.4, 0.3)
    reference = (whole.beit if pooled else whole).to(dtype)
    norm = reference.pooler.layernorm if pooled else (lambda states: states)
    pixels, patch_mask = torch.randn(3, 3, 32, 32, dtype=dtype), torch.rand(3, 16) < 0.4
    encoder = part.encoder.to(dtype)
    for mask in (None, patch_mask):
        states = reference(pixels, bool_masked_pos=mask).last_hidden_state
        assert_equal(encoder(pixels, mask)[:, 1:], norm(states)[:, 1:])


@torch.no_grad()
def test_the_norm_of_masked_image_modelling(tmp_path):
    """That head keeps the norm outside of the model."""
    whole = randomise(BeitForMaskedImageModeling(transformers_config(use_mean_pooling=True, vocab_size=11)))
    whole.save_pretrained(tmp_path)
    pixels = torch.randn(2, 3, 32, 32)
    states = whole.layernorm(whole.beit(pixels).last_hidden_state)
    assert_equal(read_vision(str(tmp_path)).encoder(pixels)[:, 1:], states[:, 1:])


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


def test_bad_input_is_one_sentence(tmp_path):
    state = timm_beit().state_dict()

    def refused(words: str, stored: dict[str, Tensor]) -> None:
        torch.save(stored, tmp_path / "beit.pth")
        with pytest.raises(UserError, match=words) as found:
            read_vision(str(tmp_path / "beit.pth"))
        assert "\n" not in str(found.value)

    refused("absolute positions", state | {"pos_embed": torch.zeros(1, 17, 48)})
    plain = without(timm.create_model("vit_tiny_patch16_224").state_dict(), "pos_embed")
    refused("no table of relative positions for blocks.0", plain)
    refused(r"lacks the weights of blocks\.1\.fc1\.weight", without(state, "blocks.1.mlp.fc1.weight"))
    refused("no BEiT", {"something": torch.zeros(2)})
    refused("have shape", state | {"blocks.1.norm1.weight": torch.zeros(47)})
    table = "blocks.0.attn.relative_position_bias_table"
    refused("grid are not square", state | {table: torch.zeros(50, 4)})
    refused("holds no tensors", {})
    with pytest.raises(UserError, match="holds no model"):
        read_vision(str(tmp_path))
    with pytest.raises(UserError, match="neither a path here"):
        read_vision(str(tmp_path / "nowhere.pth"))
    save_for_hf(timm_beit(), tmp_path / "model", safe_serialization=True)
    edit_json(tmp_path / "model" / "config.json", layer_norm_eps=1e-5)
    assert read_vision(str(tmp_path / "model")).config.norm_eps == 1e-5


@pytest.mark.parametrize(
    "name",
    [
        "beit_base_patch16_224",
        "beit_large_patch16_224",
        "beitv2_base_patch16_224",
        "beitv2_large_patch16_224",
        "beit_base_patch16_224.in22k_ft_in22k",
    ],
)
def test_names_without_a_tag_are_timms_default(name):
    cfg = timm.get_pretrained_cfg(name)
    assert beit_repository(name) == f"timm/{cfg.architecture}.{cfg.tag}"
    assert beit_repository("microsoft/beit-base-patch16-224") == "microsoft/beit-base-patch16-224"
