"""The native vision encoder on BEiT weights, against timm."""

import pytest
import timm
import torch
from torch import Tensor

from tests.interop.foreign import assert_equal, edit_json
from tests.interop.foreign_models import write_timm
from tests.refusals import expect_refusal
from xfm.models.interop.compose import beit_repository, read_vision

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}
DTYPES = [torch.float64, torch.float32]
SHARED = {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}


def timm_beit(folder, **options):
    return write_timm("beitv2_base_patch16_224", folder, **SIZES, num_classes=7, **options)


def patches_of(reference, pixels: Tensor) -> Tensor:
    """Each patch normalised by the model's own last norm, which X-FM takes the mean of."""
    return reference.fc_norm(reference.forward_features(pixels))[:, 1:]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, SHARED, {"use_fc_norm": False}, {"init_values": None}])
@pytest.mark.parametrize("layout", ["timm", "published"])
@torch.no_grad()
def test_timm_and_published_layouts(layout, options, dtype, tmp_path):
    """The published files have the same names, a mask vector, and lie inside a pickled dictionary."""
    reference = timm_beit(tmp_path / "model", **options)
    mask = torch.randn(1, 1, 48)
    if layout == "timm":
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


TABLE = "blocks.0.attn.relative_position_bias_table"


@pytest.mark.parametrize(
    ("gone", "new", "named"),
    [
        (None, {"pos_embed": torch.zeros(1, 17, 48)}, "absolute positions"),
        (TABLE, {}, "no table of relative positions for blocks.0"),
        ("blocks.1.mlp.fc1.weight", {}, "lacks the weights of blocks.1.fc1.weight"),
        (None, {"blocks.1.norm1.weight": torch.zeros(47)}, "have shape"),
        (None, {TABLE: torch.zeros(50, 4)}, "grid are not square"),
        ("", {"something": torch.zeros(2)}, "no BEiT"),
        ("", {}, "holds no tensors"),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence(gone, new, named, tmp_path):
    state = timm_beit(tmp_path / "model").state_dict()
    kept = {name: tensor for name, tensor in state.items() if gone is None or not name.startswith(gone)}
    torch.save(kept | new, tmp_path / "beit.pth")
    with expect_refusal(named):
        read_vision(str(tmp_path / "beit.pth"))


@pytest.mark.parametrize(("path", "named"), [("", "holds no model"), ("nowhere.pth", "neither a path")])
def test_paths_without_a_model_are_named(path, named, tmp_path):
    with expect_refusal(named):
        read_vision(str(tmp_path / path))


def test_the_epsilon_is_that_of_the_folder(tmp_path):
    timm_beit(tmp_path / "model")
    edit_json(tmp_path / "model" / "config.json", layer_norm_eps=1e-5)
    assert read_vision(str(tmp_path / "model")).config.norm_eps == 1e-5


NAMES = [f"{kind}_{size}_patch16_224" for kind in ("beit", "beitv2") for size in ("base", "large")]


@pytest.mark.parametrize("name", [*NAMES, "beit_base_patch16_224.in22k_ft_in22k"])
def test_names_without_a_tag_are_timms_default(name):
    cfg = timm.get_pretrained_cfg(name)
    assert beit_repository(name) == f"timm/{cfg.architecture}.{cfg.tag}"
    assert beit_repository("microsoft/beit-base-patch16-224") == "microsoft/beit-base-patch16-224"
